//! Every kernel that reads or writes images, with the images stored as f16 or bfloat16.
use crate::case::{Case, plain};
use crate::cases;
use crate::device;
use crate::training::devices;
use half::{bf16, f16};
use resnet::backend::cpu::Cpu;
use resnet::graph::Kind;
use resnet::kernels::Window;
use resnet::ops::{GatherImages, GlobalAvgPoolGrad, Mask, Op};
use resnet::tensor::{DType, Shape, TensorDesc};

/// The cases of the table with those of their nodes that touch images, each node by itself: what it read
/// in f32 is rounded to f16.
pub fn cases() -> Vec<Case> {
    cases_of(DType::F16)
}

/// [`cases`] of f16 or bfloat16.
pub fn cases_of(stored: DType) -> Vec<Case> {
    let all = cases::all();
    let halved = all.iter().map(|case| halved(case, stored));
    halved.filter(|c| !c.g.nodes().is_empty()).collect()
}

fn halved(case: &Case, stored: DType) -> Case {
    let mut cpu = Cpu::new().unwrap();
    let plan = device::whole(case, &case.values(), &cpu).unwrap();
    let mut now = device::run(case, plan, &mut cpu).unwrap();
    // Of what a node updates, the old contents are read.
    for (t, bytes) in &case.data {
        now.insert(*t, bytes.clone());
    }
    plain(&format!("{}, {stored}", case.name), |c| {
        for (number, node) in case.g.nodes().iter().enumerate() {
            let (op, images) = with_images(&node.op, stored);
            if images.is_empty() && op == node.op {
                continue;
            }
            let mut inputs = Vec::new();
            for (i, t) in node.inputs.iter().enumerate() {
                let (name, mut desc) = (format!("{number}.{i}"), case.g.desc(*t));
                let mut bytes = now[t].clone();
                if images.contains(&i) {
                    assert_eq!(desc.dtype, DType::F32, "{name}");
                    desc.dtype = stored;
                    bytes = rounded_to(stored, &bytes);
                }
                let input = c.g.input(&name, desc);
                c.data.push((input, bytes));
                inputs.push(input);
            }
            c.g.push(op, &inputs)?;
        }
        Ok(())
    })
}

/// The op as it works on images stored so, and which of its inputs they are.
pub fn with_images(op: &Op, stored: DType) -> (Op, Vec<usize>) {
    let images = match op {
        Op::GatherImages(gather) => {
            let op = GatherImages {
                stored,
                ..gather.clone()
            };
            return (op.into(), Vec::new());
        }
        Op::GlobalAvgPoolGrad(grad) => {
            let x = TensorDesc {
                dtype: stored,
                ..grad.x
            };
            let op = GlobalAvgPoolGrad { x, ..grad.clone() };
            let images = [1, 3].iter().filter(|&&i| i < 1 + grad.mask.inputs());
            return (op.into(), images.copied().collect());
        }
        Op::Conv2dGradInput(grad) => {
            let mut images = vec![0];
            let pre = 2 + usize::from(grad.add);
            images.extend(grad.add.then_some(2));
            let masked_by = [pre, pre + 2].into_iter();
            images.extend(masked_by.filter(|i| *i < pre + grad.mask.inputs()));
            images
        }
        Op::Activate(_) | Op::BatchNormMaxPoolGrad(_) => vec![0, 2],
        Op::Add(_) | Op::ReluGrad(_) | Op::BatchNormGradPartials(_) | Op::Conv2dGradWeight(_) => {
            vec![0, 1]
        }
        Op::BatchNormGradInput(grad) if grad.add => vec![0, 1, 5],
        Op::BatchNormGradInput(_) => vec![0, 1],
        Op::MaxPoolGrad(_) => vec![1],
        Op::Relu(_)
        | Op::BatchNormApply(_)
        | Op::BatchNormPartials(_)
        | Op::BatchNormMaxPool(_)
        | Op::MaxPool(_)
        | Op::Conv2d(_)
        | Op::Conv2dGradBias(_)
        | Op::GlobalAvgPool(_) => vec![0],
        _ => Vec::new(),
    };
    (op.clone(), images)
}

/// Numbers of f32 rounded to f16.
pub fn rounded(bytes: &[u8]) -> Vec<u8> {
    rounded_to(DType::F16, bytes)
}

/// Numbers of f32 rounded to f16 or bfloat16.
pub fn rounded_to(stored: DType, bytes: &[u8]) -> Vec<u8> {
    let round = |v: f32| match stored {
        DType::Bf16 => bf16::from_f32(v).to_le_bytes(),
        _ => f16::from_f32(v).to_le_bytes(),
    };
    device::floats(bytes).into_iter().flat_map(round).collect()
}

/// Numbers of f16 as f32.
pub fn widened(bytes: &[u8]) -> Vec<f32> {
    let bits = bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
    bits.map(|b| f16::from_le_bytes(b).to_f32()).collect()
}

#[test]
fn every_op_of_a_training_step_has_a_case() {
    let cases = cases();
    let nodes = || cases.iter().flat_map(|case| case.g.nodes());
    let outputs = cases.iter().flat_map(|case| case.g.tensors());
    let values = outputs.filter(|(_, t)| t.kind == Kind::Value && t.desc.dtype == DType::F16);
    assert!(values.count() > 50);
    let odd = |desc: TensorDesc| desc.dtype == DType::F16 && desc.shape.len() % 2 == 1;
    assert!(
        cases
            .iter()
            .any(|case| case.g.tensors().any(|(_, t)| odd(t.desc))),
        "no case ends within a word"
    );
    let names: std::collections::BTreeSet<&str> =
        nodes().map(|node| node.op.def().name()).collect();
    assert!(names.len() >= 18, "{names:?}");
}

/// Whichever way a device rounds: a finite number in the place of an infinite one would hide an overflow.
#[test]
fn what_is_too_large_for_f16_is_stored_as_infinite() {
    let (last, first) = (65519.0_f32, 65520.0_f32);
    let large = [1.0, last, first, 65535.0, 65536.0, 1e6, 1e30, f32::INFINITY];
    let values: Vec<f32> = large.iter().flat_map(|&v| [v, -v]).collect();
    let f16 = |shape| TensorDesc {
        shape: Shape(shape),
        dtype: DType::F16,
    };
    // A product with one, by loads of one and of four values, and an op of its own.
    for channels in [1, 16] {
        let case = plain("large values", |c| {
            let one = c.g.input("one", f16([1, 1, 1, channels]));
            let mut ones = vec![f16::ZERO; channels];
            ones[0] = f16::ONE;
            c.data
                .push((one, bytemuck::cast_slice(&bits(&ones)).to_vec()));
            let w = TensorDesc::f32(Shape([1, 1, channels, values.len()]));
            let w = c.g.input("w", w);
            let mut weights = vec![0.0; channels * values.len()];
            weights[..values.len()].copy_from_slice(&values);
            c.data.push((w, bytemuck::cast_slice(&weights).to_vec()));
            let window = Window {
                kernel: 1,
                stride: 1,
                pad: 0,
            };
            c.g.conv2d(one, w, None, window)?;
            let dy = TensorDesc::f32(Shape([1, 1, 1, values.len()]));
            let dy = c.g.input("dy", dy);
            c.data.push((dy, bytemuck::cast_slice(&values).to_vec()));
            let x = f16([1, 1, 1, values.len()]);
            let mask = Mask::None;
            c.g.push1(GlobalAvgPoolGrad { x, mask }, &[dy])?;
            Ok(())
        });
        for (name, open) in devices(DType::F16) {
            let mut backend = open();
            let plan = device::whole(&case, &case.results(), backend.as_ref()).unwrap();
            let after = device::run(&case, plan, backend.as_mut()).unwrap();
            for t in case.results() {
                for (stored, value) in widened(&after[&t]).iter().zip(&values) {
                    let what = format!("{name}, {}: {value} as {stored}", case.g.tensor(t).name);
                    assert_eq!(stored.is_infinite(), value.abs() >= first, "{what}");
                    assert_eq!(stored.is_sign_negative(), *value < 0.0, "{what}");
                }
            }
        }
    }
}

fn bits(values: &[f16]) -> Vec<u16> {
    values.iter().map(|v| v.to_bits()).collect()
}
