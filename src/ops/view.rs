//! Borrowed tensors as the CPU kernels see them.
use crate::kernels::floats::{Floats, FloatsMut};
use crate::tensor::{DType, Shape, TensorDesc};

/// A tensor to read.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Shape and element type.
    pub desc: TensorDesc,
    /// Its bytes, aligned to 64.
    pub bytes: &'a [u8],
    /// The weight of a forward pass as its kernel reads it, where the backend has kept it so.
    pub prepared: Option<&'a [f32]>,
}

/// A tensor to write.
pub struct ViewMut<'a> {
    /// Shape and element type.
    pub desc: TensorDesc,
    /// Its bytes, aligned to 64.
    pub bytes: &'a mut [u8],
}

impl<'a> View<'a> {
    /// Dimensions.
    pub fn shape(&self) -> Shape {
        self.desc.shape
    }

    /// The elements of an f32 tensor.
    pub fn f32(&self) -> &'a [f32] {
        bytemuck::cast_slice(self.bytes)
    }

    /// The elements of a tensor of f32 or bfloat16.
    pub fn floats(&self) -> Floats<'a> {
        match self.desc.dtype {
            DType::Bf16 => Floats::Bf16(bytemuck::cast_slice(self.bytes)),
            _ => Floats::F32(self.f32()),
        }
    }

    /// The elements of a u32 tensor.
    pub fn u32(&self) -> &'a [u32] {
        bytemuck::cast_slice(self.bytes)
    }
}

impl ViewMut<'_> {
    /// Dimensions.
    pub fn shape(&self) -> Shape {
        self.desc.shape
    }

    /// The elements of an f32 tensor.
    pub fn f32(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(self.bytes)
    }

    /// The elements of a tensor of f32 or bfloat16.
    pub fn floats(&mut self) -> FloatsMut<'_> {
        match self.desc.dtype {
            DType::Bf16 => FloatsMut::Bf16(bytemuck::cast_slice_mut(self.bytes)),
            _ => FloatsMut::F32(self.f32()),
        }
    }

    /// The elements of a u32 tensor.
    pub fn u32(&mut self) -> &mut [u32] {
        bytemuck::cast_slice_mut(self.bytes)
    }
}
