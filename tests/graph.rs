//! Autodiff's sums, the planner's promises, and plans that are cut or that share their buffers.
use crate::case::Case;
use crate::cases;
use crate::device::{self, Contents, floats};
use resnet::backend::{Backend, cpu::Cpu, gpu::Options};
use resnet::graph::{Graph, Kind, TensorId, backward};
use resnet::ops::{Add, Op};
use resnet::plan::{Limits, Place, Plan, plan};
use resnet::tensor::{Shape, TensorDesc};
use std::collections::{BTreeSet, HashMap};

#[test]
fn gradients_of_two_readers_are_summed_once() {
    let mut g = Graph::default();
    let desc = TensorDesc::f32(Shape::channels(4));
    let (x, dy) = (g.input("x", desc), g.input("dy", desc));
    let positive = g.relu(x).unwrap();
    let y = g.add(x, positive).unwrap();
    let forward = g.nodes().len();
    let dx = backward(&mut g, 0..forward, &[(y, dy)]).unwrap()[&x];
    let sums = g.nodes()[forward..].iter();
    assert_eq!(sums.filter(|node| node.op == Op::Add(Add)).count(), 1);

    let mut cpu = Cpu::new().unwrap();
    let all = plan(&g, 0..g.nodes().len(), &[dx], Limits::NONE).unwrap();
    let id = cpu.compile(all).unwrap();
    cpu.write(x, bytemuck::cast_slice(&[1.0_f32, -2.0, 3.0, -4.0]))
        .unwrap();
    cpu.write(dy, bytemuck::cast_slice(&[10.0_f32, 20.0, 30.0, 40.0]))
        .unwrap();
    cpu.run(id).unwrap();
    let dx = floats(&cpu.read_value(id, dx).unwrap());
    assert_eq!(dx, [20.0, 20.0, 60.0, 40.0]);
}

/// Additions and ReLUs of two sizes, each reading what may have been made long before.
fn random_graph(seed: u64) -> Graph {
    let mut g = Graph::default();
    let mut state = seed;
    let mut below = |bound: usize| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as usize % bound
    };
    let mut known =
        [5, 12].map(|c| vec![g.input(&format!("x{c}"), TensorDesc::f32(Shape::channels(c)))]);
    for _ in 0..60 {
        let same = &mut known[below(2)];
        let (a, b) = (same[below(same.len())], same[below(same.len())]);
        same.push(
            if below(3) == 0 {
                g.relu(a)
            } else {
                g.add(a, b)
            }
            .unwrap(),
        );
    }
    g
}

/// Follows which tensor each slot holds through a plan.
fn replay(g: &Graph, plan: &Plan) {
    let mut holds: HashMap<usize, TensorId> = HashMap::new();
    for d in &plan.dispatches {
        let reads: Vec<Place> = d.inputs.iter().map(|b| b.place).collect();
        for b in &d.inputs {
            if let Place::Slot(slot) = b.place {
                assert_eq!(
                    holds.get(&slot),
                    Some(&b.tensor),
                    "overwritten before its last reader"
                );
            }
        }
        let mut written = BTreeSet::new();
        for b in &d.outputs {
            assert!(!reads.contains(&b.place), "one buffer is read and written");
            if let Place::Slot(slot) = b.place {
                assert!(written.insert(slot), "one slot for two results");
                assert!(
                    plan.slots[slot] >= g.desc(b.tensor).bytes(),
                    "the slot is too small"
                );
                holds.insert(slot, b.tensor);
            }
        }
    }
    for (t, kept) in &plan.kept {
        assert_eq!(
            holds.get(&kept.slot),
            Some(t),
            "a kept value was overwritten"
        );
        assert_eq!(kept.bytes, g.desc(*t).bytes());
    }
}

#[test]
fn slots_are_reused_only_after_the_last_reader() {
    for seed in 0..50 {
        let g = random_graph(seed);
        let values: Vec<TensorId> = g.nodes().iter().map(|node| node.outputs[0]).collect();
        let (early, last) = (values[5], *values.last().unwrap());
        replay(&g, &plan(&g, 0..60, &[early, last], Limits::NONE).unwrap());
    }
    for case in cases::all() {
        let g = &case.g;
        replay(
            g,
            &plan(g, 0..g.nodes().len(), &case.results(), Limits::NONE).unwrap(),
        );
    }
}

#[test]
fn memory_adds_up() {
    for case in cases::all() {
        let whole = plan(
            &case.g,
            0..case.g.nodes().len(),
            &case.values(),
            Limits::NONE,
        )
        .unwrap();
        let bytes = |own: bool| -> u64 {
            let bound = whole
                .dispatches
                .iter()
                .flat_map(|d| d.inputs.iter().chain(&d.outputs));
            let tensors: BTreeSet<TensorId> = bound.map(|b| b.tensor).collect();
            let counted = tensors
                .iter()
                .filter(|t| (case.g.tensor(**t).kind != Kind::Value) == own);
            counted.map(|t| case.g.desc(*t).bytes() as u64).sum()
        };
        // With every value kept no two share a slot.
        assert_eq!(whole.pool_bytes(), bytes(false), "{}", case.name);
        assert_eq!(whole.owned_bytes(), bytes(true), "{}", case.name);
        assert_eq!(
            whole.memory_bytes(),
            whole.pool_bytes() + whole.owned_bytes()
        );
    }
}

#[test]
fn a_chain_needs_two_slots() {
    let mut g = Graph::default();
    let mut y = g.input("x", TensorDesc::f32(Shape::channels(100)));
    for _ in 0..20 {
        y = g.relu(y).unwrap();
    }
    let plan = plan(&g, 0..20, &[y], Limits::NONE).unwrap();
    assert_eq!(plan.slots, [400, 400]);
}

#[test]
fn shared_slots_change_nothing_on_the_cpu() {
    for case in cases::all() {
        let [shared, alone] = [case.results(), case.values()].map(|keep| {
            let mut cpu = Cpu::new().unwrap();
            let plan = device::whole(&case, &keep, &cpu).unwrap();
            device::run(&case, plan, &mut cpu).unwrap()
        });
        same_bits(&case, &shared, &alone);
    }
}

#[test]
#[ignore = "minutes on a software adapter: scripts/test.sh --all"]
fn shared_slots_change_nothing_on_the_gpu() {
    let Some(adapter) = device::adapter() else {
        return;
    };
    for case in cases::all() {
        let [shared, alone] = [case.results(), case.values()].map(|keep| {
            let mut gpu = device::open(adapter, Options::default());
            let plan = device::whole(&case, &keep, &gpu).unwrap();
            device::run(&case, plan, &mut gpu).unwrap()
        });
        same_bits(&case, &shared, &alone);
    }
}

/// The ops of which some case must have been cut, so that the comparison below is not empty.
const CUT: [&str; 12] = [
    "add",
    "batch_norm",
    "batch_norm_partials",
    "conv2d",
    "conv2d_grad_input",
    "conv2d_grad_weight",
    "gather_images",
    "global_avg_pool",
    "max_pool",
    "max_pool_grad",
    "relu",
    "relu_grad",
];

#[test]
fn cut_plans_give_the_same_bits_on_the_cpu() {
    let limits = |max_binding| Limits {
        max_binding,
        offset_alignment: 4,
        cooperative: None,
    };
    let mut cut = BTreeSet::new();
    for case in cases::all() {
        let Some(pieces) = halved(&case, &mut cut, limits) else {
            continue;
        };
        let [pieces, whole] = [
            pieces,
            device::whole(&case, &case.values(), &Cpu::new().unwrap()).unwrap(),
        ]
        .map(|plan| device::run(&case, plan, &mut Cpu::new().unwrap()).unwrap());
        same_bits(&case, &pieces, &whole);
    }
    assert!(
        CUT.iter().all(|op| cut.contains(op)),
        "only {cut:?} were cut"
    );
}

#[test]
#[ignore = "a minute on a software adapter: scripts/test.sh --all"]
fn cut_plans_give_the_same_bits_on_the_gpu() {
    let Some(adapter) = device::adapter() else {
        return;
    };
    let open = |max_binding| {
        device::open(
            adapter,
            Options {
                max_binding,
                ..Options::default()
            },
        )
    };
    let mut cut = BTreeSet::new();
    for case in cases::all() {
        let Some(pieces) = halved(&case, &mut cut, |most| open(Some(most)).limits()) else {
            continue;
        };
        let mut gpu = open(None);
        let whole = device::whole(&case, &case.values(), &gpu).unwrap();
        let whole = device::run(&case, whole, &mut gpu).unwrap();
        let pieces = device::run(&case, pieces, &mut open(None)).unwrap();
        same_bits(&case, &pieces, &whole);
    }
    assert!(
        CUT.iter().all(|op| cut.contains(op)),
        "only {cut:?} were cut"
    );
}

/// The plan where no binding covers more than half of the largest tensor, if that can be.
/// Adds the ops that were cut to `cut`.
fn halved(
    case: &Case,
    cut: &mut BTreeSet<&'static str>,
    limits: impl Fn(usize) -> Limits,
) -> Option<Plan> {
    let bound = case
        .g
        .nodes()
        .iter()
        .flat_map(|node| node.inputs.iter().chain(&node.outputs));
    let largest = bound.map(|t| case.g.desc(*t).bytes()).max()?;
    let limits = limits(largest.div_ceil(2).next_multiple_of(256));
    // Where a weight is the largest tensor, or half an image would be needed, there is no such plan.
    let plan = plan(&case.g, 0..case.g.nodes().len(), &case.values(), limits).ok()?;
    for d in &plan.dispatches {
        let bindings = || d.inputs.iter().chain(&d.outputs);
        assert!(bindings().all(|b| b.desc.bytes() <= limits.max_binding));
        assert!(bindings().all(|b| b.offset.is_multiple_of(limits.offset_alignment)));
        if bindings().any(|b| b.offset > 0) {
            cut.insert(d.op.def().name());
        }
    }
    Some(plan)
}

/// Every tensor that both runs have must be the same.
fn same_bits(case: &Case, some: &Contents, all: &Contents) {
    for (t, bytes) in some {
        assert!(
            all[t] == *bytes,
            "{}: {} differs",
            case.name,
            case.g.tensor(*t).name
        );
    }
}
