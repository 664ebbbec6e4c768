//! The gather against what PIL's bilinear filter made of the same images: not one pixel may differ.
use crate::device;
use resnet::backend::Backend;
use resnet::backend::cpu::Cpu;
use resnet::backend::gpu::Options;
use resnet::graph::Graph;
use resnet::ops::resize_taps;
use resnet::plan::plan;
use resnet::tensor::{DType, Shape, TensorDesc};
use safetensors::SafeTensors;

const GOLDEN: &[u8] = include_bytes!("golden/resize.safetensors");

#[test]
fn the_cpu_resizes_as_pil() {
    every_size_is_equal(|| Box::new(Cpu::new().unwrap()));
}

#[test]
fn the_gpu_resizes_as_pil() {
    let Some(adapter) = device::adapter() else {
        return;
    };
    every_size_is_equal(|| Box::new(device::open(adapter, Options::default())));
}

fn every_size_is_equal(open: impl Fn() -> Box<dyn Backend>) {
    let golden = SafeTensors::deserialize(GOLDEN).unwrap();
    let images = golden.tensor("images_28").unwrap();
    for size in [14, 32, 33, 64, 96] {
        let want = golden.tensor(&format!("out_{size}")).unwrap();
        // Last image first, so that a kernel which ignores the indices is found out.
        let indices: Vec<u32> = (0..want.shape()[0] as u32).rev().collect();
        let got = resized(open().as_mut(), images.data(), &indices, size);
        let image = size * size;
        for (got, index) in got.chunks_exact(image).zip(&indices) {
            let want = &want.data()[*index as usize * image..][..image];
            let differ = got.iter().zip(want).filter(|(g, w)| g != w).count();
            assert_eq!(differ, 0, "{differ} pixels of image {index} at {size}");
        }
    }
    let same = resized(open().as_mut(), images.data(), &[19, 0], 28);
    let (first, last) = (&images.data()[..784], &images.data()[19 * 784..]);
    assert!(
        same == [last, first].concat(),
        "a size kept is a plain copy"
    );
}

/// The grey levels of the images with these indices, resized.
fn resized(backend: &mut dyn Backend, images: &[u8], indices: &[u32], size: usize) -> Vec<u8> {
    let (table, t) = resize_taps(28, size);
    let mut g = Graph::default();
    let set = g.state("images", TensorDesc::u8(Shape([20, 28, 28, 1])));
    let batch = g.input("indices", TensorDesc::u32(Shape::examples(indices.len())));
    let taps = g.state("taps", TensorDesc::u32(Shape([size, 1, 1, t])));
    let x = g
        .gather_images(set, batch, taps, None, size, DType::F32)
        .unwrap();
    let id = backend
        .compile(plan(&g, 0..1, &[x], backend.limits()).unwrap())
        .unwrap();
    backend.write(set, images).unwrap();
    backend.write(batch, bytemuck::cast_slice(indices)).unwrap();
    backend.write(taps, bytemuck::cast_slice(&table)).unwrap();
    backend.run(id).unwrap();
    let x = device::floats(&backend.read_value(id, x).unwrap());
    x.iter().map(|x| (x * 255.0).round() as u8).collect()
}
