//! The fused training step against the unfused one: what it computes, on both backends and for every
//! kind of block, and what it costs.
use crate::device::{self, floats};
use crate::training::resnet18;
use resnet::backend::{Backend, cpu::Cpu, gpu::Options};
use resnet::bench::Settings;
use resnet::config::{Precision, TrainConfig};
use resnet::data::Preprocess;
use resnet::graph::{Graph, TensorId, fuse};
use resnet::model::{Arch, Block, Param, Role, Stage, Stem, initialise};
use resnet::ops::resize_taps;
use resnet::ops::tuning::TuningTable;
use resnet::plan::plan;
use resnet::train::{DataTensors, Optimizer, StepGraph, evaluate, train};
use std::collections::BTreeMap;

const BATCH: usize = 6;
const SIZE: usize = 40;
const LR: f32 = 0.015625;

const OPTIMIZER: Optimizer = Optimizer::sgd(0.9, true, 0.03125);

type Open<'a> = &'a dyn Fn() -> Box<dyn Backend>;

/// Networks that take every rule of the fusion: with and without biases, with projecting shortcuts that
/// are normalised or not, and with every kind of block.
fn archs() -> Vec<(&'static str, Arch)> {
    let stages = |blocks: &[usize], widths: &[usize]| -> Vec<Stage> {
        let stages = blocks.iter().zip(widths);
        stages
            .map(|(&blocks, &width)| Stage { blocks, width })
            .collect()
    };
    let d2l = |blocks: &[usize], widths: &[usize]| Arch {
        stem: widths[0],
        stages: stages(blocks, widths),
        ..resnet18(1)
    };
    vec![
        ("basic", d2l(&[2, 1], &[8, 12])),
        ("deeper", d2l(&[1, 2, 2], &[4, 8, 16])),
        (
            "bottleneck",
            Arch {
                block: Block::Bottleneck,
                conv_bias: false,
                shortcut_bn: true,
                ..d2l(&[2, 1], &[4, 8])
            },
        ),
        (
            "pre-activation",
            Arch {
                block: Block::PreActBasic,
                ..d2l(&[2, 2], &[8, 12])
            },
        ),
        (
            "pre-activation bottleneck",
            Arch {
                block: Block::PreActBottleneck,
                ..d2l(&[1, 1], &[4, 8])
            },
        ),
        (
            "3×3 stem",
            Arch {
                stem_kind: Stem::Cifar,
                conv_bias: false,
                shortcut_bn: true,
                ..d2l(&[1, 1, 1], &[4, 8, 8])
            },
        ),
    ]
}

/// What a step leaves, by name.
type Tensors = BTreeMap<String, Vec<f32>>;

/// Values to read, by name.
type Values = BTreeMap<String, TensorId>;

struct Network {
    g: Graph,
    pass: StepGraph,
    source: DataTensors,
}

fn network(arch: &Arch, optimizer: Option<Optimizer>) -> Network {
    let mut g = Graph::default();
    let preprocess = Preprocess::of_size(SIZE);
    let channels = arch.in_channels;
    let source = DataTensors::resident(&mut g, "train", BATCH, SIZE, channels, &preprocess);
    let pass = match optimizer {
        Some(optimizer) => train(&mut g, arch, &source, BATCH, optimizer).unwrap(),
        None => evaluate(&mut g, arch, &source, BATCH).unwrap(),
    };
    Network { g, pass, source }
}

/// Runs some steps and reads the states and the values in `keep`.
fn run(network: Network, keep: &Values, steps: usize, fused: bool, open: Open) -> Tensors {
    let Network {
        mut g,
        pass,
        source,
    } = network;
    let kept: Vec<TensorId> = keep.values().copied().collect();
    let mut nodes = pass.nodes.clone();
    if fused {
        nodes = fuse(&mut g, nodes, &kept, &TuningTable::default()).unwrap();
    }
    let mut backend = open();
    let plan = plan(&g, nodes, &kept, backend.limits()).unwrap();
    let id = backend.compile(plan).unwrap();
    let noise = |i: usize| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[1];
    let pixels: Vec<u8> = (0..g.desc(source.images).bytes()).map(noise).collect();
    let numbers: Vec<u32> = (0..BATCH as u32).collect();
    let (taps, _) = resize_taps(SIZE, SIZE);
    let mut write = |t: TensorId, bytes: &[u8]| backend.write(t, bytes).unwrap();
    write(source.images, &pixels);
    write(source.labels, bytemuck::cast_slice(&numbers));
    write(pass.indices, bytemuck::cast_slice(&numbers));
    write(source.taps, bytemuck::cast_slice(&taps));
    for (t, values) in initialise(&pass.network.params, 3) {
        write(t, bytemuck::cast_slice(&values));
    }
    for p in pass.network.params.iter().filter(|p| !p.trainable()) {
        let statistics: Vec<f32> = (0..p.shape.c()).map(statistic(p.role)).collect();
        write(p.tensor, bytemuck::cast_slice(&statistics));
    }
    if let Some(lr) = g.find("lr") {
        write(lr, &LR.to_le_bytes());
    }
    for _ in 0..steps {
        backend.run(id).unwrap();
    }
    let mut after = Tensors::new();
    for (name, t) in keep {
        after.insert(name.clone(), floats(&backend.read_value(id, *t).unwrap()));
    }
    let params = pass.network.params.iter().map(|p| (&p.name, p.tensor));
    for (name, t) in params.chain(pass.optimizer_state.iter().map(|(n, t)| (n, *t))) {
        after.insert(name.clone(), floats(&backend.read(t).unwrap()));
    }
    let losses = floats(&backend.read(pass.log.loss).unwrap());
    after.insert("losses".to_string(), losses[..steps].to_vec());
    after
}

/// Running statistics that differ between channels.
fn statistic(role: Role) -> impl Fn(usize) -> f32 {
    let mean = role == Role::RunningMean;
    move |i| {
        if mean {
            (i % 5) as f32 / 16.0 - 0.125
        } else {
            0.5 + (i % 3) as f32 / 4.0
        }
    }
}

fn norm(values: &[f32]) -> f64 {
    let squares = values.iter().map(|v| f64::from(*v) * f64::from(*v));
    squares.sum::<f64>().sqrt()
}

/// Every tensor of one outcome against the other's, by the relative error of its norm.
fn compare(what: &str, tolerance: f64, got: &Tensors, want: &Tensors) {
    let mut wrong = Vec::new();
    let mut worst: f64 = 0.0;
    for (name, wanted) in want {
        // The gradient of a bias before a BatchNorm is zero but for rounding: like any other sum over
        // all pixels it is measured by its layer's weight, too.
        let weight = want.get(&name.replace(".bias", ".weight"));
        let scale = weight.map_or(0.0, |w| norm(w)).max(norm(wanted));
        let pairs = got[name].iter().zip(wanted);
        let error = norm(&pairs.map(|(a, b)| a - b).collect::<Vec<f32>>()) / scale.max(1e-6);
        worst = worst.max(error);
        if error > tolerance || error.is_nan() {
            wrong.push(format!("{name}: {error:.1e}"));
        }
    }
    println!("{what}: worst {worst:.1e}");
    assert!(wrong.is_empty(), "{what}: {wrong:#?}");
}

fn on_every_device(question: impl Fn(&str, Open)) {
    question("cpu", &|| Box::new(Cpu::new().unwrap()));
    if let Some(adapter) = device::adapter() {
        question("gpu", &|| {
            Box::new(device::open(adapter, Options::default()))
        });
    }
}

/// Both sum the same terms in another order: values differ by some units of 2⁻²⁴ per layer, some 1e-6
/// of a gradient's norm. Where a value lies that close to ReLU's kink, an element of a gradient goes
/// another way, which may cost a gradient of a few thousand elements a little more.
const ROUNDING: f64 = 2e-5;

#[test]
fn fused_gradients_are_the_unfused_ones() {
    on_every_device(|device, open| {
        for (name, arch) in archs() {
            let outcome = |fused| {
                let network = network(&arch, Some(OPTIMIZER));
                let params = network.pass.network.params.iter().filter(|p| p.trainable());
                let gradient = |p: &Param| {
                    (
                        format!("grad.{}", p.name),
                        network.pass.gradients[&p.tensor],
                    )
                };
                let mut keep: Values = params.map(gradient).collect();
                keep.insert("logits".to_string(), network.pass.network.logits);
                run(network, &keep, 1, fused, open)
            };
            compare(
                &format!("{device}, {name}"),
                ROUNDING,
                &outcome(true),
                &outcome(false),
            );
        }
    });
}

#[test]
fn fused_steps_are_the_unfused_ones() {
    on_every_device(|device, open| {
        for (name, arch) in archs() {
            let outcome = |fused| {
                run(
                    network(&arch, Some(OPTIMIZER)),
                    &Values::new(),
                    2,
                    fused,
                    open,
                )
            };
            compare(
                &format!("{device}, {name}"),
                ROUNDING,
                &outcome(true),
                &outcome(false),
            );
        }
    });
}

/// By the definition of PyTorch's `CrossEntropyLoss`, from the logits.
#[test]
fn a_step_minimises_the_smoothed_loss_and_an_evaluation_tells_the_plain_one() {
    const SMOOTHING: f32 = 0.25;
    let smoothed = Optimizer {
        label_smoothing: SMOOTHING,
        ..OPTIMIZER
    };
    for (optimizer, smoothing) in [(Some(smoothed), f64::from(SMOOTHING)), (None, 0.0)] {
        let network = network(&archs()[0].1, optimizer);
        let keep = [("logits".to_string(), network.pass.network.logits)];
        let after = run(network, &keep.into(), 1, true, &|| {
            Box::new(Cpu::new().unwrap())
        });
        let examples = after["logits"].chunks(after["logits"].len() / BATCH);
        let losses = examples.enumerate().map(|(label, logits)| {
            let sum: f64 = logits.iter().map(|x| f64::from(*x).exp()).sum();
            let log_p: Vec<f64> = logits.iter().map(|x| f64::from(*x) - sum.ln()).collect();
            let mean = log_p.iter().sum::<f64>() / log_p.len() as f64;
            -(1.0 - smoothing) * log_p[label] - smoothing * mean
        });
        let wanted = losses.sum::<f64>() / BATCH as f64;
        let got = f64::from(after["losses"][0]);
        assert!((got - wanted).abs() < 1e-6 * wanted, "{got}, not {wanted}");
    }
}

#[test]
fn fused_evaluations_are_the_unfused_ones() {
    on_every_device(|device, open| {
        for (name, arch) in archs() {
            let outcome = |fused| {
                let network = network(&arch, None);
                let keep = [("logits".to_string(), network.pass.network.logits)];
                run(network, &keep.into(), 1, fused, open)
            };
            compare(
                &format!("{device}, {name}"),
                ROUNDING,
                &outcome(true),
                &outcome(false),
            );
        }
    });
}

/// The chapter's network and batch: what a step costs by the plan's own count.
#[test]
fn a_step_costs_what_it_should() {
    let totals = |fuse, precision| {
        let mut config = TrainConfig::default();
        (config.hardware.fuse, config.hardware.precision) = (fuse, precision);
        let settings = Settings::new(config, 1, false).unwrap();
        let dump = settings.dump(&Cpu::new().unwrap()).unwrap();
        dump.lines().last().unwrap().to_string()
    };
    assert_eq!(
        totals(true, Precision::F32),
        "130 dispatches, 486900428840 FLOP, 5299910268 B moved; \
         51 pool buffers of 909962240 B, inputs and states 44976176 B"
    );
    assert_eq!(
        totals(false, Precision::F32),
        "288 dispatches, 488563538610 FLOP, 10459986636 B moved; \
         59 pool buffers of 1332991016 B, inputs and states 44976176 B"
    );
    assert_eq!(
        totals(true, Precision::F16),
        "135 dispatches, 486923426862 FLOP, 2954837288 B moved; \
         51 pool buffers of 506522624 B, inputs and states 44976184 B"
    );
}
