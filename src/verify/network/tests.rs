//! Planted errors: what the rules of whole networks notice.
use super::verdict::Judge;
use super::*;
use crate::backend::cpu::Cpu;
use std::path::Path;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");

/// Calls `visit` with the outputs of every network and what judges them, in f32 and as stored.
fn each(stored: DType, known: bool, mut visit: impl FnMut(&str, DType, &Judge, &mut Outputs)) {
    let mut set = Set::open(Path::new(GOLDEN)).unwrap();
    if !known {
        for entry in &mut set.manifest.networks {
            entry.torch.noise.clear();
        }
    }
    for entry in &set.manifest.networks {
        let mut g = Graph::default();
        let case = NetworkCase::build(&mut g, &set, entry, "", stored, 0.0).unwrap();
        let mut cpu = Cpu::new().unwrap();
        let mut play = |case: &NetworkCase| replay::play(&mut g, &mut cpu, &case.stages, true);
        let mut single = play(&case).unwrap();
        if let Some((dtype, half)) = &case.half {
            let mut outputs = play(half).unwrap();
            let judge = half.judge(&case, &single).unwrap();
            visit(entry.name(), *dtype, &judge, &mut outputs);
        }
        let judge = case.judge(&case, &single).unwrap();
        visit(entry.name(), DType::F32, &judge, &mut single);
    }
}

/// Names of the results that fail.
fn failing(judge: &Judge, outputs: &Outputs) -> Vec<String> {
    let checks = judge.judge(outputs).unwrap().into_iter();
    checks.filter(|c| !c.passed()).map(|c| c.tensor).collect()
}

/// Activations, logits, losses and gradients that are a thousandth too large, and updates that are a hundredth too large.
#[test]
fn small_errors_are_noticed_in_every_tensor() {
    for known in [true, false] {
        each(DType::F32, known, |network, _, judge, outputs| {
            assert_eq!(failing(judge, outputs), Vec::<String>::new(), "{network}");
            let names: Vec<String> = outputs.keys().cloned().collect();
            let mut planted = 0;
            for name in names.iter().filter(|name| !judge.is_zero(name)) {
                let update = name.starts_with("after");
                let by = if update { 1e-2 } else { 1e-3 };
                let right = outputs[name].clone();
                let direction = judge.direction(name, &right);
                outputs.get_mut(name).unwrap().plant(&direction, by);
                assert!(
                    failing(judge, outputs).contains(name),
                    "{by} of {name} in {network}, noise known: {known}"
                );
                outputs.insert(name.clone(), right);
                planted += 1;
            }
            assert!(planted > 100, "{network}: {planted}");
        });
    }
}

/// With images of 16 bits, errors are noticed that are eight times what their rounding leaves.
#[test]
fn errors_of_eight_times_the_formats_are_noticed() {
    for stored in [DType::Bf16, DType::F16] {
        each(stored, true, |network, dtype, judge, outputs| {
            if dtype == DType::F32 {
                return;
            }
            assert_eq!(failing(judge, outputs), Vec::<String>::new(), "{network}");
            let names: Vec<String> = outputs.keys().cloned().collect();
            let in_f32 = |name: &&String| outputs[*name].dtype() == DType::F32;
            let planted = names.iter().filter(in_f32);
            let planted: Vec<&String> = planted.filter(|n| !judge.is_zero(n)).collect();
            assert!(planted.len() > 100, "{network}: {}", planted.len());
            for name in planted {
                let right = outputs[name].clone();
                let direction = judge.direction(name, &right);
                // Beside what is granted to f32.
                let by = 8.0 * judge.coarse[name] + 2e-3;
                outputs.get_mut(name).unwrap().plant(&direction, by);
                let failing = failing(judge, outputs);
                assert!(
                    failing.contains(name),
                    "{by} of {name} in {network}, {dtype}"
                );
                outputs.insert(name.clone(), right);
            }
        });
    }
}
