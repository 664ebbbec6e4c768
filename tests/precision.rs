//! Products in bfloat16 on the CPU: PyTorch's values by every unit that this machine has, and units against each other.
use resnet::backend::cpu::Cpu;
use resnet::kernels::precision::{Matmul, MatmulPrecision, Unit};
use resnet::tensor::DType;
use resnet::verify::{Report, Set, run};
use std::num::NonZeroUsize;

const UNITS: [Unit; 3] = [Unit::Scalar, Unit::Avx512, Unit::Amx];

fn replay(matmul: Matmul) -> Report {
    let mut cpu = Cpu::open(NonZeroUsize::new(2), matmul).unwrap();
    run(
        &Set::built_in().unwrap(),
        &mut cpu,
        true,
        DType::F32,
        |_| (),
    )
}

/// The errors of the ops that multiply, and whether all of them are near enough.
fn products(report: &Report) -> Vec<(&str, f64, bool)> {
    let multiplies = |op: &str| op == "conv2d" || op == "linear";
    let cases = report.cases.iter().filter(|case| multiplies(&case.op));
    cases
        .map(|case| (case.name.as_str(), case.rel_l2.unwrap(), case.passed))
        .collect()
}

#[test]
fn every_unit_computes_what_pytorch_computes_within_its_precision() {
    for unit in UNITS.into_iter().filter_map(Unit::if_there) {
        // The relative error that the rounding of two factors leaves, for one and for two terms.
        for (terms, least, most) in [(1, 1e-3, 4e-3), (2, 2e-6, 1e-5)] {
            let report = replay(Matmul::Bf16 { terms, unit });
            let products = products(&report);
            assert!(products.len() > 15);
            for (name, _, passed) in &products {
                assert!(passed, "{name} by {unit:?} with {terms} terms");
            }
            let mut errors: Vec<f64> = products.iter().map(|(_, error, _)| *error).collect();
            errors.sort_by(f64::total_cmp);
            let median = errors[errors.len() / 2];
            assert!(
                least < median && median < most,
                "{unit:?} with {terms} terms is off by {median:.1e}"
            );
            // What multiplies no matrix is as exact as ever.
            let others = report.cases.iter().filter(|case| {
                !["conv2d", "linear", "network"].contains(&case.op.as_str()) && !case.passed
            });
            assert_eq!(others.count(), 0);
        }
    }
}

#[test]
fn units_differ_by_the_order_of_their_sums_only() {
    let of = |unit| replay(Matmul::Bf16 { terms: 2, unit });
    let scalar = of(Unit::Scalar);
    for unit in UNITS[1..].iter().filter_map(|unit| unit.if_there()) {
        let other = of(unit);
        for ((name, a, _), (_, b, _)) in products(&scalar).iter().zip(products(&other)) {
            assert!(
                (a - b).abs() < 1e-6,
                "{name} by {unit:?}: {b:.2e}, by plain code {a:.2e}"
            );
        }
    }
}

#[test]
fn highest_is_f32_everywhere() {
    let (matmul, note) = Matmul::choose(MatmulPrecision::Highest).unwrap();
    assert_eq!((matmul, note), (Matmul::F32, None));
}
