//! Pictures in colour and networks of torchvision's shape, against what PyTorch, torchvision and Pillow made of the same
//! (`scripts/golden/pictures.py`).
use crate::device::floats;
use crate::training::devices;
use resnet::data::{Preprocess, fit};
use resnet::graph::Graph;
use resnet::ops::GatherImages;
use resnet::plan::plan;
use resnet::tensor::{DType, Shape, TensorDesc};
use safetensors::SafeTensors;

const PICTURES: &[u8] = include_bytes!("torchvision/pictures.safetensors");

/// A picture and what torchvision made of it.
struct Case {
    /// Levels of this shape.
    picture: Vec<u8>,
    shape: [usize; 3],
    preprocess: Preprocess,
    /// Levels of the square that is left.
    pixels: Vec<u8>,
}

fn cases() -> Vec<Case> {
    let file = SafeTensors::deserialize(PICTURES).unwrap();
    let case = |case: usize| {
        let tensor = |name: &str| file.tensor(&format!("{case}/{name}")).unwrap();
        let (picture, sizes) = (tensor("picture"), tensor("sizes"));
        let sizes: Vec<i32> = bytemuck::pod_collect_to_vec(sizes.data());
        let preprocess = Preprocess {
            size: sizes[1] as usize,
            resize: Some(sizes[0] as usize),
            ..Preprocess::imagenet()
        };
        Case {
            picture: picture.data().to_vec(),
            shape: picture.shape().try_into().unwrap(),
            preprocess,
            pixels: tensor("pixels").data().to_vec(),
        }
    };
    (0..4).map(case).collect()
}

#[test]
fn pictures_are_resized_and_cropped_as_by_torchvision() {
    for case in cases() {
        let got = fit(&case.picture, case.shape, &case.preprocess);
        assert_eq!(got.len(), case.pixels.len());
        let pairs = got.iter().zip(&case.pixels);
        let differ = pairs.filter(|(got, want)| got != want).count();
        assert_eq!(differ, 0, "{differ} of {} for {:?}", got.len(), case.shape);
    }
}

#[test]
fn a_step_prepares_images_as_pictures_are_prepared() {
    let Case { picture, shape, .. } = cases().swap_remove(0);
    let [h, w, c] = shape;
    let side = h.min(w);
    let square: Vec<u8> = (0..side)
        .flat_map(|y| &picture[y * w * c..][..side * c])
        .copied()
        .collect();
    for (resize, size) in [(Some(31), 26), (Some(17), 14), (None, 19)] {
        let preprocess = Preprocess {
            size,
            resize,
            ..Preprocess::imagenet()
        };
        let levels = fit(&square, [side, side, c], &preprocess);
        let want = normalised(&levels, &preprocess);
        for (name, open) in devices(DType::F32) {
            let mut backend = open();
            let mut g = Graph::default();
            let (table, t) = preprocess.taps(side, preprocess.resized());
            let images = g.input("images", TensorDesc::u8(Shape([1, side, side, c])));
            let indices = g.input("indices", TensorDesc::u32(Shape::examples(1)));
            let taps = g.input("taps", TensorDesc::u32(Shape([size, 1, 1, t])));
            let gather = GatherImages {
                size,
                stored: DType::F32,
                normalise: preprocess.normalise(),
                augmented: false,
                shard: None,
            };
            let x = g.push1(gather, &[images, indices, taps]).unwrap();
            let made = plan(&g, 0..1, &[x], backend.limits()).unwrap();
            let id = backend.compile(made).unwrap();
            backend.write(images, &square).unwrap();
            backend.write(taps, bytemuck::cast_slice(&table)).unwrap();
            backend.run(id).unwrap();
            let got = floats(&backend.read_value(id, x).unwrap());
            for (got, want) in got.iter().zip(&want) {
                let far = if name == "cpu" { 0.0 } else { 2e-6 };
                assert!((got - want).abs() <= far, "{name}: {got}, not {want}");
            }
        }
    }
}

/// As PyTorch computes it, in f32.
fn normalised(levels: &[u8], preprocess: &Preprocess) -> Vec<f32> {
    let (mean, std) = (&preprocess.mean, &preprocess.std);
    let of_channel = mean.iter().zip(std).cycle();
    let values = levels.iter().zip(of_channel);
    values
        .map(|(level, (mean, std))| (f32::from(*level) / 255.0 - mean) / std)
        .collect()
}

#[test]
fn values_are_normalised_as_by_torchvision() {
    let Case {
        preprocess, pixels, ..
    } = cases().swap_remove(0);
    let file = SafeTensors::deserialize(PICTURES).unwrap();
    let want = floats(file.tensor("0/values").unwrap().data());
    assert_eq!(normalised(&pixels, &preprocess), want);
}
