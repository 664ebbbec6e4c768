//! The GPU against the CPU, node by node: each kernel gets the very inputs that the GPU's kernel had,
//! so that no error adds up over the graph and every tolerance is that of one node.
use crate::case::Case;
use crate::device::{self, Contents, floats};
use crate::partials;
use crate::{cases, half};
use resnet::backend::Backend;
use resnet::backend::cpu::Cpu;
use resnet::backend::gpu::Options;
use resnet::graph::{Graph, Kind, Node, TensorId};
use resnet::ops::Op;
use resnet::tensor::{DType, TensorDesc};

#[test]
#[ignore = "a minute on a software adapter: scripts/test.sh --all"]
fn unchecked_kernels_equal_the_cpu() {
    every_node_agrees(Options::default(), cases::all());
}

#[test]
#[ignore = "minutes on a software adapter: scripts/test.sh --all"]
fn checked_kernels_equal_the_cpu() {
    let checked = true;
    let options = Options {
        checked,
        ..Options::default()
    };
    every_node_agrees(options, cases::all());
}

/// Without the checks only: they are about indices, which an element's type does not change.
#[test]
#[ignore = "minutes on a software adapter: scripts/test.sh --all"]
fn kernels_on_f16_equal_the_cpu() {
    let options = Options::default();
    let stores_f16 = |adapter| device::open(adapter, options).stores_f16();
    if !device::adapter().is_some_and(stores_f16) {
        eprintln!("SKIPPED: no adapter with shader-f16");
        return;
    }
    every_node_agrees(options, half::cases());
}

#[test]
#[ignore = "minutes on a software adapter: scripts/test.sh --all"]
fn kernels_equal_the_cpu_within_the_limits_that_webgpu_guarantees() {
    let portable = true;
    let options = Options {
        portable,
        ..Options::default()
    };
    let stores_f16 = |adapter| device::open(adapter, options).stores_f16();
    assert!(!device::adapter().is_some_and(stores_f16));
    every_node_agrees(options, cases::all());
}

#[test]
fn nan_reaches_the_results() {
    for case in cases::all()
        .iter()
        .filter(|case| case.name.ends_with("of NaN"))
    {
        let mut cpu = Cpu::new().unwrap();
        let plan = device::whole(case, &case.results(), &cpu).unwrap();
        let after = device::run(case, plan, &mut cpu).unwrap();
        let results = case.results().into_iter();
        let mut floating = results.filter(|t| case.g.desc(*t).dtype == DType::F32);
        let nan = |t| floats(&after[&t]).iter().any(|v| v.is_nan());
        assert!(floating.any(nan), "{} is hidden", case.name);
    }
}

pub fn every_node_agrees(options: Options, cases: Vec<Case>) {
    let Some(adapter) = device::adapter() else {
        return;
    };
    let mut wrong = Vec::new();
    for case in cases {
        let mut gpu = device::open(adapter, options);
        let plan = device::whole(&case, &case.values(), &gpu).unwrap();
        let after = device::run(&case, plan, &mut gpu).unwrap();
        wrong.extend(disagreements(&case, &after, gpu.factor_error()));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Goes through the nodes with the GPU's values as inputs of the CPU's kernels. The GPU rounds factors that it
/// computes itself by the relative error `factors`; those that it reads are chosen so that it need not.
fn disagreements(case: &Case, after: &Contents, factors: f64) -> Vec<String> {
    let mut now: Contents = case.data.iter().cloned().collect();
    let mut wrong = Vec::new();
    for node in case.g.nodes() {
        let want = alone(&case.g, node, &now);
        for (i, (&t, want)) in node.outputs.iter().zip(&want).enumerate() {
            let factors = if activates(&node.op) { factors } else { 0.0 };
            if let Err(why) = compare(&case.g, node, i, &after[&t], want, factors) {
                let (op, name) = (node.op.def().name(), &case.g.tensor(t).name);
                wrong.push(format!("{}: {op}: {name}: {why}", case.name));
            }
            now.insert(t, after[&t].clone());
        }
    }
    wrong
}

/// Whether factors of products are computed on the way, by BatchNorm and ReLU.
fn activates(op: &Op) -> bool {
    match op {
        Op::Conv2d(conv) => conv.activate,
        Op::Conv2dGradWeight(grad) => grad.activate,
        _ => false,
    }
}

/// Runs one node on the CPU: its new values, then the states that it updated.
fn alone(g: &Graph, node: &Node, now: &Contents) -> Vec<Vec<u8>> {
    let mut one = Case::default();
    let mut owned = |t: &TensorId| {
        let (name, desc) = (format!("{t:?}"), g.desc(*t));
        let here = if node.outputs.contains(t) {
            one.g.state(&name, desc)
        } else {
            one.g.input(&name, desc)
        };
        one.data.push((here, now[t].clone()));
        here
    };
    let inputs: Vec<TensorId> = node.inputs.iter().map(&mut owned).collect();
    let updated = node
        .outputs
        .iter()
        .filter(|t| g.tensor(**t).kind == Kind::State);
    let states: Vec<TensorId> = updated.map(&mut owned).collect();
    let values = one
        .g
        .push_update(node.op.clone(), &inputs, &states)
        .unwrap();
    let mut cpu = Cpu::new().unwrap();
    let plan = device::whole(&one, &values, &cpu).unwrap();
    let mut after = device::run(&one, plan, &mut cpu).unwrap();
    let outputs = values.iter().chain(&states);
    outputs.map(|t| after.remove(t).unwrap()).collect()
}

/// Whole numbers must be equal. Rounding errors of a sum of K terms in another order grow like √K
/// times the unit roundoff 2⁻²⁴, relative to the largest element; 8 of them are granted. Rounded factors leave
/// errors that grow like the sums themselves: their own relative error is granted once.
fn compare(
    g: &Graph,
    node: &Node,
    i: usize,
    got: &[u8],
    want: &[u8],
    factors: f64,
) -> Result<(), String> {
    let TensorDesc { dtype, shape } = g.desc(node.outputs[i]);
    if !dtype.is_float() {
        let differ = got.iter().zip(want).filter(|(a, b)| a != b).count();
        return if differ == 0 {
            Ok(())
        } else {
            Err(format!("{differ} bytes differ"))
        };
    }
    // Beside them a GPU may round to f16 in any direction: one unit in the last of its 11 digits.
    let (got, want, rounding) = match dtype {
        DType::F16 => (half::widened(got), half::widened(want), 2.0_f64.powi(-10)),
        _ => (floats(got), floats(want), 0.0),
    };
    let descs = |ts: &[TensorId]| ts.iter().map(|&t| g.desc(t)).collect::<Vec<_>>();
    let flops = node
        .op
        .def()
        .flops(&descs(&node.inputs), &descs(&node.outputs));
    let merged = |values| partials::merged(&node.op, i, values, shape.c());
    if let (Some(got), Some(want)) = (merged(&got), merged(&want)) {
        let rows = got.chunks(shape.c()).zip(want.chunks(shape.c()));
        return rows.enumerate().try_for_each(|(row, (got, want))| {
            let terms = flops as f64 / shape.c() as f64;
            close(got, want, terms, [0.0, factors])
                .map_err(|why| format!("merged row {row}: {why}"))
        });
    }
    let wide = |values: &[f32]| values.iter().map(|&v| v.into()).collect::<Vec<f64>>();
    let terms = flops as f64 / want.len() as f64;
    close(&wide(&got), &wide(&want), terms, [rounding, factors])
}

fn close(
    got: &[f64],
    want: &[f64],
    terms: f64,
    [rounding, factors]: [f64; 2],
) -> Result<(), String> {
    let finite = want.iter().filter(|v| v.is_finite());
    let largest = finite.fold(0.0_f64, |m, v| m.max(v.abs()));
    let tolerance = (2.0_f64.powi(-21) * terms.max(1.0).sqrt() + factors) * largest;
    for (i, (a, b)) in got.iter().zip(want).enumerate() {
        let tolerance = tolerance + rounding * b.abs();
        let same = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance;
        if !same {
            return Err(format!("element {i} is {a}, not {b} (± {tolerance:.1e})"));
        }
    }
    Ok(())
}
