//! Memory for one tensor or one slot of the pool, aligned to a cache line.

/// A cache line, the widest vector that any CPU loads.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Bytes aligned to 64.
#[derive(Default)]
pub struct Buffer {
    lines: Vec<Line>,
    bytes: usize,
}

impl Buffer {
    /// Zeros; the operating system hands out the pages at their first use.
    pub fn zeroed(bytes: usize) -> Buffer {
        Buffer {
            lines: bytemuck::zeroed_vec(bytes.div_ceil(64)),
            bytes,
        }
    }

    /// The contents.
    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.lines)[..self.bytes]
    }

    /// The contents, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.bytes]
    }
}
