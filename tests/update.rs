//! Updates: the cases of every rule, each against its formula in double precision, and whole steps by them.
use crate::case::{Case, plain};
use crate::device::{self, floats};
use crate::loss_scale::ADAMW;
use crate::micro::{batches, outcome, sums_by_hand};
use crate::small::{LR, OPTIMIZER, few, session, spec};
use crate::training::{devices, tensors};
use resnet::backend::Backend;
use resnet::backend::cpu::Cpu;
use resnet::graph::{Gradients, Graph, TensorId};
use resnet::model::{Param, Role};
use resnet::ops::{Accumulate, BiasCorrection, Ema, Op, Rule, Segment, Sgd, Update};
use resnet::plan::{Limits, plan};
use resnet::tensor::{DType, Shape, TensorDesc};
use resnet::train::optim::{self, Controls, ParamGroup};
use resnet::train::{
    Optimizer, Program, Progress, Session, SessionSpec, StepPlans, WeightsInfo, checkpoint,
    learning_rate,
};
use std::collections::BTreeMap;
use std::path::Path;
use tempfile::TempDir;

pub const EMA: Ema = Ema { decay: 0.75 };

/// Three parameters: one partial gradient and several blocks, several partial ones, and none. Between them are
/// elements that nothing may touch.
fn segments() -> Vec<Segment> {
    let whole = Segment {
        weight_decay: 0.1,
        ..Segment::new(0, 2500, 256)
    };
    let several = Segment {
        partials: 5,
        lr_scale: 0.5,
        ..Segment::new(2560, 10, 2760)
    };
    let none = Segment {
        partials: 0,
        lr_scale: 2.0,
        weight_decay: 0.25,
        ..Segment::new(2816, 1300, 0)
    };
    vec![whole, several, none]
}

fn rules() -> Vec<Rule> {
    let sgd = |momentum, nesterov| Rule::from(Sgd { momentum, nesterov });
    let sgd = [sgd(0.0, false), sgd(0.9, false), sgd(0.9, true)];
    let others = [Rule::from(ADAMW), Rule::from(EMA)];
    sgd.into_iter().chain(others).collect()
}

/// One step of every rule, and of the sum over micro-batches.
pub fn cases() -> Vec<Case> {
    let update = |rule: Rule| {
        plain(&format!("{rule:?}"), move |c| {
            let formula = rule.def().formula();
            let g = c.uniform("g", [1, 1, 1, 2816], -1.0, 1.0);
            let lr = c.uniform("lr", [1, 1, 1, 1], 0.05, 0.1);
            let mut inputs = vec![g, lr];
            if formula.averages > 0 {
                let rates = rule.def().constants()[..formula.averages].to_vec();
                let correction = c.state("correction", [1, 1, 1, rates.len()], 0.1, 0.5);
                c.g.push_update(BiasCorrection { rates }, &[lr], &[correction])?;
                inputs.push(correction);
            }
            // The mean of squares is not negative.
            let mut state = |name: &&str| c.state(name, [1, 1, 1, 4116], 0.0, 1.0);
            let states: Vec<TensorId> =
                ["p"].iter().chain(formula.states).map(&mut state).collect();
            let op = Update {
                rule,
                segments: segments(),
                len: 4116,
            };
            c.g.push_update(op, &inputs, &states)?;
            Ok(())
        })
    };
    let accumulate = plain("accumulate", |c| {
        let g = c.uniform("g", [1, 1, 1, 2816], -1.0, 1.0);
        let sum = c.state("sum", [1, 1, 1, 4116], -1.0, 1.0);
        let op = Accumulate {
            segments: segments(),
            len: 4116,
        };
        c.g.push_update(op, &[g], &[sum])?;
        Ok(())
    });
    let updates = rules().into_iter().map(update);
    updates.chain([accumulate]).collect()
}

/// The formula of a rule for one element, in double precision: new values of the parameter and its states.
fn formula(rule: Rule, [lr, weight_decay]: [f64; 2], c: &[f64], g: f64, old: &[f64]) -> Vec<f64> {
    let p = old[0];
    match rule {
        Rule::Sgd(Sgd { momentum, nesterov }) => {
            let (d, momentum) = (g + weight_decay * p, f64::from(momentum));
            let m = momentum * old.get(1).unwrap_or(&0.0) + d;
            let step = if nesterov { d + momentum * m } else { m };
            vec![p - lr * step, m]
        }
        Rule::AdamW(adamw) => {
            let m = adamw.beta1 * old[1] + (1.0 - adamw.beta1) * g;
            let v = adamw.beta2 * old[2] + (1.0 - adamw.beta2) * g * g;
            let step = m / c[0] / ((v / c[1]).sqrt() + f64::from(adamw.eps));
            vec![p * (1.0 - lr * weight_decay) - lr * step, m, v]
        }
        Rule::Ema(Ema { decay }) => vec![p + (1.0 - decay) / c[0] * (g - p)],
    }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// Whether they are equal but for the rounding of a few operations in single precision.
fn near(got: f64, want: f64) -> bool {
    (got - want).abs() <= 2.0_f64.powi(-21) * want.abs().max(1.0)
}

#[test]
fn a_step_is_the_formula_of_its_rule() {
    for case in cases() {
        let node = case.g.nodes().last().unwrap();
        let Op::Update(update) = &node.op else {
            continue;
        };
        let held = |t: TensorId| {
            let (_, bytes) = case.data.iter().find(|(known, _)| *known == t).unwrap();
            wide(&floats(bytes))
        };
        let mut cpu = Cpu::new().unwrap();
        let plan = device::whole(&case, &[], &cpu).unwrap();
        let after = device::run(&case, plan, &mut cpu).unwrap();
        let after = |t: TensorId| wide(&floats(&after[&t]));
        let (g, lr) = (held(node.inputs[0]), held(node.inputs[1])[0]);
        let correction = node.inputs.get(2).map_or(Vec::new(), |&t| after(t));
        let before: Vec<Vec<f64>> = node.outputs.iter().map(|&t| held(t)).collect();
        let after: Vec<Vec<f64>> = node.outputs.iter().map(|&t| after(t)).collect();
        let mut wanted = before.clone();
        for s in &update.segments {
            let rates = [lr * f64::from(s.lr_scale), f64::from(s.weight_decay)];
            for i in 0..s.len {
                let g = (0..s.partials).map(|part| g[s.g + part * s.len + i]).sum();
                let old: Vec<f64> = before.iter().map(|t| t[s.p + i]).collect();
                let new = formula(update.rule, rates, &correction, g, &old);
                wanted.iter_mut().zip(new).for_each(|(t, v)| t[s.p + i] = v);
            }
        }
        for (after, wanted) in after.iter().zip(&wanted) {
            let apart = after.iter().zip(wanted).position(|(a, b)| !near(*a, *b));
            assert_eq!(apart, None, "{}", case.name);
        }
    }
}

/// Segments are independent of each other, and partial gradients of their sum made before.
#[test]
fn segments_step_as_each_alone() {
    for case in cases() {
        let node = case.g.nodes().last().unwrap();
        let Op::Update(update) = &node.op else {
            continue;
        };
        let run = |case: &Case| {
            let mut cpu = Cpu::new().unwrap();
            let plan = device::whole(case, &[], &cpu).unwrap();
            device::run(case, plan, &mut cpu).unwrap()
        };
        let after = run(&case);
        for s in &update.segments {
            let mut one = Case::default();
            let mut ids = BTreeMap::new();
            for (t, bytes) in &case.data {
                let values = floats(bytes);
                let part = match node.outputs.contains(t) {
                    true => values[s.p..][..s.len].to_vec(),
                    false if *t == node.inputs[0] => {
                        let part = |i| (0..s.partials).map(move |p| s.g + p * s.len + i);
                        let sum = |i| part(i).fold(0.0, |sum, at| sum + values[at]);
                        (0..s.len).map(sum).collect()
                    }
                    false => values,
                };
                let tensor = case.g.tensor(*t);
                let desc = TensorDesc::f32(Shape::channels(part.len()));
                let here = one.g.state(&tensor.name, desc);
                one.data.push((here, bytemuck::cast_slice(&part).to_vec()));
                ids.insert(*t, here);
            }
            for before in case.g.nodes() {
                let op = match &before.op {
                    Op::Update(update) => Op::Update(Update {
                        segments: vec![Segment {
                            p: 0,
                            g: 0,
                            partials: 1,
                            ..*s
                        }],
                        len: s.len,
                        ..update.clone()
                    }),
                    op => op.clone(),
                };
                let [inputs, states] = [&before.inputs, &before.outputs]
                    .map(|ts| ts.iter().map(|t| ids[t]).collect::<Vec<_>>());
                one.g.push_update(op, &inputs, &states).unwrap();
            }
            let alone = run(&one);
            for t in &node.outputs {
                let part = &floats(&after[t])[s.p..][..s.len];
                assert_eq!(floats(&alone[&ids[t]]), part, "{}: {s:?}", case.name);
            }
        }
    }
}

/// Two groups in one pack, and a parameter in none.
#[test]
fn groups_have_their_own_rates_in_one_node() {
    let mut g = Graph::default();
    let lens = [5, 1500, 7, 3];
    let param = |i: usize| {
        let (name, shape) = (format!("w{i}"), Shape([1, 1, 1, lens[i]]));
        Param {
            tensor: g.state(&name, TensorDesc::f32(shape)),
            name,
            shape,
            role: Role::LinearWeight,
        }
    };
    let params: Vec<Param> = (0..4).map(param).collect();
    let input = |p: &Param| {
        let name = format!("d.{}", p.name);
        (p.tensor, g.input(&name, TensorDesc::f32(p.shape)))
    };
    let gradients: Gradients = params[..3].iter().map(input).collect();
    let group = |members: &[usize], lr_scale, weight_decay| ParamGroup {
        params: members.iter().map(|&i| params[i].clone()).collect(),
        lr_scale,
        weight_decay,
    };
    let groups = [group(&[2, 0], 1.0, 0.5), group(&[1], 0.25, 0.0)];
    let controls = Controls {
        lr: learning_rate(&mut g),
        scaling: None,
        clip: None,
    };
    let rule = Rule::from(Sgd {
        momentum: 0.5,
        nesterov: false,
    });
    let state = optim::append(&mut g, rule, &groups, &gradients, controls).unwrap();
    assert_eq!(g.nodes().len(), 1);
    let names: Vec<&str> = state.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["momentum.w0", "momentum.w1", "momentum.w2"]);

    let mut cpu = Cpu::new().unwrap();
    let id = cpu
        .compile(plan(&g, 0..1, &[], Limits::NONE).unwrap())
        .unwrap();
    cpu.write(controls.lr, &0.125_f32.to_le_bytes()).unwrap();
    for p in &params[..3] {
        let fill = |value: f32| bytemuck::cast_slice(&vec![value; p.shape.len()]).to_vec();
        cpu.write(p.tensor, &fill(2.0)).unwrap();
        cpu.write(gradients[&p.tensor], &fill(1.0)).unwrap();
    }
    cpu.run(id).unwrap();
    for (p, wanted) in params.iter().zip([1.75, 1.96875, 1.75]) {
        let values = floats(&cpu.read(p.tensor).unwrap());
        assert_eq!(values, vec![wanted; p.shape.len()], "{}", p.name);
    }
    let error = optim::append(&mut g, rule, &[group(&[3], 1.0, 0.0)], &gradients, controls);
    let error = error.unwrap_err().to_string();
    assert_eq!(error, "w3 has no gradient");
}

fn with(optimizer: Optimizer, micro: Option<usize>, fuse: bool) -> SessionSpec {
    SessionSpec {
        optimizer: Some(optimizer),
        ..spec(micro, fuse)
    }
}

fn adamw() -> Optimizer {
    Optimizer {
        rule: ADAMW.into(),
        ..OPTIMIZER
    }
}

/// The sums have the same bits, so that AdamW differs by its own rounding only.
#[test]
fn adamw_follows_the_sums_of_micro_batches() {
    for stored in [DType::F32, DType::F16] {
        let spec = SessionSpec {
            stored,
            ..with(adamw(), Some(4), false)
        };
        let (ours, results) = outcome(&spec, &batches()[..1], Box::new(Cpu::new().unwrap()));
        let rates = [f64::from(LR), f64::from(OPTIMIZER.weight_decay)];
        let mut states: BTreeMap<String, Vec<f32>> = BTreeMap::new();
        let (wanted, by_hand) = sums_by_hand(4, 1, stored, |name, values, sums| {
            let [m, v] = ["exp_avg", "exp_avg_sq"].map(|kind| format!("{kind}.{name}"));
            for (p, g) in values.iter_mut().zip(wide(sums)) {
                let first = [f64::from(*p), 0.0, 0.0];
                let corrections = [1.0 - ADAMW.beta1, 1.0 - ADAMW.beta2];
                let new = formula(ADAMW.into(), rates, &corrections, g, &first);
                *p = new[0] as f32;
                states.entry(m.clone()).or_default().push(new[1] as f32);
                states.entry(v.clone()).or_default().push(new[2] as f32);
            }
        });
        assert_eq!(results, by_hand);
        states.extend(wanted);
        let corrections = &ours["bias_correction.adamw"];
        assert!(near(corrections[0].into(), 1.0 - ADAMW.beta1));
        assert!(near(corrections[1].into(), 1.0 - ADAMW.beta2));
        for (name, wanted) in &states {
            let pairs = wide(&ours[name]).into_iter().zip(wide(wanted));
            let apart = pairs.clone().find(|(a, b)| !near(*a, *b));
            assert_eq!(apart, None, "{name}, {stored}");
        }
        let others = usize::from(stored == DType::F16) + 1;
        assert_eq!(ours.len(), states.len() + others);
    }
}

/// The average against the same of the weights after each step, and it changes nothing else.
#[test]
fn the_average_is_that_of_the_weights_so_far() {
    for (device, open) in devices(DType::F32) {
        for (fuse, micro) in [(false, None), (true, None), (true, Some(4))] {
            let what = format!("{device}, fused {fuse}, micro-batch {micro:?}");
            let averaging = Optimizer {
                ema: Some(EMA),
                ..OPTIMIZER
            };
            let mut ours = session(&with(averaging, micro, fuse), &few(), open());
            let mut other = session(&with(OPTIMIZER, micro, fuse), &few(), open());
            let params: Vec<Param> = ours.params().to_vec();
            assert!(params.iter().any(|p| p.name.ends_with("running_var")));
            let mut averages: Vec<Vec<f64>> = Vec::new();
            let mut weight = 0.0;
            for batch in batches() {
                ours.train(&batch).unwrap();
                other.train(&batch).unwrap();
                weight = EMA.decay * weight + 1.0;
                averages.resize_with(params.len(), Vec::new);
                for (p, average) in params.iter().zip(&mut averages) {
                    let values = ours.read(p.tensor).unwrap();
                    assert_eq!(values, other.read(p.tensor).unwrap(), "{what}: {}", p.name);
                    average.resize(values.len(), 0.0);
                    for (average, value) in average.iter_mut().zip(values) {
                        *average += (f64::from(value) - *average) / weight;
                    }
                }
            }
            let states = ours.optimizer_state().to_vec();
            for (p, average) in params.iter().zip(&averages) {
                let name = format!("ema.{}", p.name);
                let (_, state) = states.iter().find(|(n, _)| *n == name).unwrap();
                let values = wide(&ours.read(*state).unwrap());
                let apart = values.iter().zip(average).find(|(a, b)| !near(**a, **b));
                assert_eq!(apart, None, "{what}: {name}");
            }
        }
    }
}

/// What fusion does to the order of sums is up to the gradients: the update itself is one node per pack, fused or not.
#[test]
fn a_step_updates_in_one_node() {
    for micro in [None, Some(4)] {
        for fuse in [false, true] {
            let averaging = Optimizer {
                ema: Some(EMA),
                ..adamw()
            };
            let spec = with(averaging, micro, fuse);
            let prepared = StepPlans::new(&spec, &few(), Limits::NONE).unwrap();
            let mut names: BTreeMap<&str, usize> = BTreeMap::new();
            for plan in prepared.runs(Program::Train) {
                for dispatch in &plan.dispatches {
                    *names.entry(dispatch.op.def().name()).or_default() += 1;
                }
            }
            let count = |name: &str| names.get(name).copied().unwrap_or(0);
            // Where fused, the gradient of the logits cannot be packed with one that is made of it.
            let gradients = if fuse { 2 } else { 1 };
            let (adamw, accumulate) = match micro {
                None => (gradients, 0),
                Some(_) => (1, 2 * gradients),
            };
            let what = format!("micro-batch {micro:?}, fused {fuse}");
            assert_eq!(count("adamw"), adamw, "{what}");
            assert_eq!(count("accumulate"), accumulate, "{what}");
            // The weights, and BatchNorm's running statistics.
            assert_eq!(count("ema"), 2, "{what}");
            assert_eq!(count("bias_correction"), 2, "{what}");
        }
    }
}

#[test]
fn a_resumed_run_of_adamw_and_the_average_has_the_bits_of_an_unbroken_one() {
    let averaging = Optimizer {
        ema: Some(EMA),
        ..adamw()
    };
    let spec = with(averaging, Some(4), true);
    for (device, open) in devices(DType::F32) {
        let folder = TempDir::new().unwrap();
        let new = || session(&spec, &few(), open());
        let info = WeightsInfo::new(
            spec.arch.clone(),
            spec.preprocess.clone(),
            few().info.classes,
        );
        let save = |session: &mut Session| {
            let saved = checkpoint::save(folder.path(), session, &info, &Progress::default(), 1);
            saved.unwrap()
        };
        let bits = |saved: &Path| {
            let of_file = |file| tensors(&saved.join(file));
            ["weights.safetensors", "state.safetensors"].map(of_file)
        };
        let steps = |session: &mut Session, some: &[Vec<u32>]| {
            for batch in some {
                session.train(batch).unwrap();
            }
        };
        let mut unbroken = new();
        steps(&mut unbroken, &batches()[..2]);
        let saved = save(&mut unbroken);
        let mut resumed = new();
        checkpoint::load(&mut resumed, &saved).unwrap();
        steps(&mut unbroken, &batches()[2..]);
        steps(&mut resumed, &batches()[2..]);
        let unbroken = bits(&save(&mut unbroken));
        assert!(bits(&save(&mut resumed)) == unbroken, "{device}");
        for name in ["exp_avg.fc.bias", "bias_correction.ema", "ema.fc.weight"] {
            assert!(unbroken[1].contains_key(name), "{name}");
        }
    }
}

#[test]
fn biases_and_norms_have_rates_and_decays_of_their_own() {
    let mut g = Graph::default();
    let names = [
        "conv1.weight",
        "conv1.bias",
        "bn1.weight",
        "fc.weight",
        "fc.bias",
    ];
    let roles = [
        Role::ConvWeight,
        Role::Bias { fan_in: 3 },
        Role::Gamma,
        Role::LinearWeight,
        Role::Bias { fan_in: 3 },
    ];
    let params = names.into_iter().zip(roles).map(|(name, role)| Param {
        name: name.to_string(),
        tensor: g.state(name, TensorDesc::f32(Shape::channels(3))),
        shape: Shape::channels(3),
        role,
    });
    let params: Vec<Param> = params.collect();
    for decay_all in [false, true] {
        let optimizer = Optimizer {
            decay_all,
            lr_scale_backbone: 0.5,
            bias_lr_scale: 4.0,
            ..Optimizer::sgd(0.0, false, 0.25)
        };
        let groups = optimizer.groups(&params);
        let told = params.iter().map(|p| {
            let of: Vec<_> = groups.iter().filter(|g| g.params.contains(p)).collect();
            assert_eq!(of.len(), 1, "{}", p.name);
            (of[0].lr_scale, of[0].weight_decay)
        });
        let other = if decay_all { 0.25 } else { 0.0 };
        let wanted = [
            (0.5, 0.25),
            (2.0, other),
            (2.0, other),
            (1.0, 0.25),
            (4.0, other),
        ];
        assert_eq!(told.collect::<Vec<_>>(), wanted);
    }
}
