//! Products by cooperative matrices. No adapter of a test machine may have them, so plain code stands for the
//! four operations of the unit, and everything around it is what a GPU with the unit runs.
use crate::case::{Case, plain};
use crate::{device, half, parity};
use resnet::backend::Backend;
use resnet::backend::gpu::cooperative::{choose, self_test};
use resnet::backend::gpu::{AdapterReport, Options};
use resnet::graph::Node;
use resnet::kernels::precision::MatmulPrecision::{High, Highest, Medium};
use resnet::ops::{Cooperative, Kernel, Op};
use resnet::tensor::DType;

/// The units with plain code in their place.
fn emulated() -> impl Iterator<Item = Cooperative> {
    Cooperative::all().filter(|unit| unit.emulated)
}

/// An adapter with f16.
fn adapter() -> Option<&'static AdapterReport> {
    let found =
        device::adapter().filter(|adapter| device::open(adapter, Options::default()).stores_f16());
    if found.is_none() {
        eprintln!("SKIPPED: no adapter with shader-f16");
    }
    found
}

/// The convolutions on images of f16 that matrices multiply, their weights rounded to f16 too: so that it is
/// no rounding of weights by which results may differ.
pub fn cases() -> Vec<Case> {
    let cases = half::cases();
    let convolutions = cases.iter().flat_map(|case| {
        let nodes = case.g.nodes().iter();
        let first = Cooperative::all().next().unwrap();
        let multiplied = nodes.filter(move |node| kernel(case, node, first).is_some());
        multiplied.map(|node| {
            plain(&case.name, |c| {
                let mut inputs = Vec::new();
                for (i, t) in node.inputs.iter().enumerate() {
                    let (_, bytes) = case.data.iter().find(|(known, _)| known == t).unwrap();
                    let is_weight = i == 1 && !matches!(node.op, Op::Conv2dGradWeight(_));
                    let bytes = match is_weight {
                        true => {
                            bytemuck::cast_slice(&half::widened(&half::rounded(bytes))).to_vec()
                        }
                        false => bytes.clone(),
                    };
                    let input = c.g.input(&format!("{i}"), case.g.desc(*t));
                    c.data.push((input, bytes));
                    inputs.push(input);
                }
                c.g.push(node.op.clone(), &inputs)?;
                Ok(())
            })
        })
    });
    convolutions.collect()
}

/// The kernel of a node with its products by a unit, where they may be.
pub fn kernel(case: &Case, node: &Node, unit: Cooperative) -> Option<Kernel> {
    let descs = |ts: &[_]| ts.iter().map(|&t| case.g.desc(t)).collect::<Vec<_>>();
    let launch = node
        .op
        .def()
        .launch(&descs(&node.inputs), &descs(&node.outputs));
    let multiplied = launch.clone().multiplied_by(Some(unit));
    (multiplied != launch).then_some(multiplied.kernel)
}

fn options(unit: Cooperative) -> Options {
    Options {
        cooperative: Some(unit),
        ..Options::default()
    }
}

#[test]
#[ignore = "minutes on a software adapter: scripts/test.sh --all"]
fn emulated_products_equal_the_cpu() {
    let Some(_) = adapter() else { return };
    let cases = cases();
    assert!(cases.len() > 20, "{} cases", cases.len());
    let unit = emulated().next().unwrap();
    parity::every_node_agrees(options(unit), cases);
}

/// The first unit is the one of the test above.
#[test]
#[ignore = "minutes on a software adapter: scripts/test.sh --all"]
fn other_emulated_units_pass_the_test_of_units() {
    let Some(adapter) = adapter() else { return };
    for unit in emulated().skip(1) {
        self_test(adapter, Options::default(), unit).unwrap();
    }
}

/// No software adapter has matrices, so that whatever is asked for falls back with the reason.
#[test]
fn a_note_says_why_products_are_f32() {
    let Some(adapter) = device::adapter().filter(|adapter| adapter.is_software()) else {
        return;
    };
    let note = |precision, stored| {
        let (unit, note) = choose(adapter, Options::default(), precision, stored).unwrap();
        assert_eq!(unit, None);
        note.unwrap_or_default()
    };
    assert_eq!(note(Highest, DType::F16), "");
    for (precision, stored, why) in [
        (High, DType::F16, "less precise"),
        (Medium, DType::F32, "with --precision f16 only"),
        (Medium, DType::F16, "offers no matrices"),
    ] {
        let said = note(precision, stored);
        assert!(said.contains("are f32, as with highest"), "{said}");
        assert!(said.contains(why), "{said}");
    }
}

/// Numbers of f32 may lie outside f16's range.
#[test]
fn f32_products_stay_as_they_are() {
    let unit = Cooperative::all().next().unwrap();
    for case in crate::cases::all() {
        for node in case.g.nodes() {
            assert_eq!(kernel(&case, node, unit), None, "{}", case.name);
        }
    }
}
