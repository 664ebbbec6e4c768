//! Every kernel that reads or writes images, with the images stored as f16.
use crate::case::{Case, plain};
use crate::cases;
use crate::device;
use half::f16;
use resnet::backend::cpu::Cpu;
use resnet::graph::{DType, Kind, TensorDesc};
use resnet::ops::{GatherImages, GlobalAvgPoolGrad, Op};

/// The cases of the table with those of their nodes that touch images, each node by itself: what it read
/// in f32 is rounded to f16.
pub fn cases() -> Vec<Case> {
    let halved = cases::all().iter().map(halved).collect::<Vec<_>>();
    let touched = halved.into_iter().filter(|c| !c.g.nodes().is_empty());
    touched.collect()
}

fn halved(case: &Case) -> Case {
    let mut cpu = Cpu::new().unwrap();
    let plan = device::whole(case, &case.values(), &cpu).unwrap();
    let mut now = device::run(case, plan, &mut cpu).unwrap();
    // Of what a node updates, the old contents are read.
    for (t, bytes) in &case.data {
        now.insert(*t, bytes.clone());
    }
    plain(&format!("{}, f16", case.name), |c| {
        for (number, node) in case.g.nodes().iter().enumerate() {
            let (op, images) = with_f16(&node.op);
            if images.is_empty() && op == node.op {
                continue;
            }
            let mut inputs = Vec::new();
            for (i, t) in node.inputs.iter().enumerate() {
                let (name, mut desc) = (format!("{number}.{i}"), case.g.desc(*t));
                let mut bytes = now[t].clone();
                if images.contains(&i) {
                    assert_eq!(desc.dtype, DType::F32, "{name}");
                    desc.dtype = DType::F16;
                    bytes = rounded(&bytes);
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

/// The op as it works on images of f16, and which of its inputs they are.
fn with_f16(op: &Op) -> (Op, Vec<usize>) {
    let stored = DType::F16;
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
    let bits = device::floats(bytes).into_iter();
    bits.flat_map(|v| f16::from_f32(v).to_le_bytes()).collect()
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
