//! Which of an adapter's cooperative matrices kernels may use: those that it offers and that then compute what
//! the CPU computes.
use super::device::COOPERATIVE_FEATURES;
use super::{AdapterReport, Gpu, Options};
use crate::backend::Backend;
use crate::backend::cpu::Cpu;
use crate::graph::{Graph, TensorId};
use crate::kernels::Window;
use crate::kernels::precision::MatmulPrecision;
use crate::ops::{Conv2d, Conv2dGradInput, Conv2dGradWeight, Cooperative, Tile};
use crate::plan::plan;
use crate::tensor::{DType, Shape, TensorDesc};
use anyhow::{Context, Result, bail};
use half::f16;

/// The environment variable that names the unit: an emulated one, or one of the adapter's, which is then used
/// without a test.
pub const VARIABLE: &str = "RESNET_GPU_MATRICES";

/// What a precision means on this adapter for images that are `stored` so, with a line for the user where it
/// is not what was asked for. It is never less exact than that.
///
/// # Errors
/// When the environment names an unknown unit, or an emulated one fails.
pub fn choose(
    adapter: &AdapterReport,
    options: Options,
    precision: MatmulPrecision,
    stored: DType,
) -> Result<(Option<Cooperative>, Option<String>)> {
    let f32 = |name: &str, why: &str| {
        let note = format!(
            "--matmul-precision {name}: products on {} are f32, as with highest: {why}",
            adapter.name
        );
        Ok((None, Some(note)))
    };
    match (precision, stored) {
        (MatmulPrecision::Highest, _) => return Ok((None, None)),
        (MatmulPrecision::High, _) => {
            return f32(
                "high",
                "a GPU's matrices take f16, which is less precise than `high`",
            );
        }
        (MatmulPrecision::Medium, DType::F16) => {}
        (MatmulPrecision::Medium, _) => {
            return f32(
                "medium",
                "a GPU's matrices take f16, and gradients fit that with --precision f16 only, which scales them",
            );
        }
    }
    if let Some(unit) = named()? {
        if unit.emulated {
            self_test(adapter, options, unit)?;
        }
        return Ok((Some(unit), None));
    }
    let offered = offered(adapter);
    if offered.is_empty() {
        return f32("medium", "it offers no matrices of f16 that add in f32");
    }
    let mut failures = Vec::new();
    for unit in offered {
        match self_test(adapter, options, unit) {
            Ok(()) => return Ok((Some(unit), None)),
            Err(e) => failures.push(format!("{} ({e:#})", unit.label())),
        }
    }
    let failed = format!("its matrices failed the test: {}", failures.join("; "));
    f32("medium", &failed)
}

/// The unit that the environment names.
fn named() -> Result<Option<Cooperative>> {
    let name = match std::env::var(VARIABLE) {
        Err(_) => return Ok(None),
        Ok(name) if name.is_empty() => return Ok(None),
        Ok(name) => name,
    };
    let found = Cooperative::all().find(|unit| unit.label() == name);
    let known = || Cooperative::all().map(|unit| unit.label());
    let unknown = || {
        format!(
            "{VARIABLE}={name} is none of {}",
            known().collect::<Vec<_>>().join(", ")
        )
    };
    Ok(Some(found.with_context(unknown)?))
}

/// What the adapter says it has, best first.
fn offered(adapter: &AdapterReport) -> Vec<Cooperative> {
    use wgpu::CooperativeScalarType::{F16, F32};
    let (info, limits) = (adapter.adapter.get_info(), adapter.adapter.limits());
    let has = adapter.adapter.features();
    if !has.contains(COOPERATIVE_FEATURES | wgpu::Features::SHADER_F16)
        || limits.max_compute_workgroup_storage_size < Cooperative::WORKGROUP_BYTES
    {
        return Vec::new();
    }
    let kinds = adapter.adapter.cooperative_matrix_properties();
    let square = |size: u32| {
        let mut kinds = kinds.iter();
        kinds.any(|kind| {
            [kind.m_size, kind.n_size, kind.k_size] == [size; 3]
                && (kind.ab_type, kind.cr_type) == (F16, F32)
        })
    };
    let subgroups = info.subgroup_min_size..=info.subgroup_max_size;
    let offers = |unit: &Cooperative| {
        !unit.emulated && square(unit.size as u32) && subgroups.contains(&(unit.subgroup as u32))
    };
    Cooperative::all().filter(offers).collect()
}

/// Multiplies with the unit what the CPU multiplies too: a convolution and both gradients, in every tile, with
/// many steps of k and ragged edges. Numbers of 11 digits, so that rounding them to f16 changes none.
///
/// # Errors
/// When the device refuses the kernels or a result is wrong: which, and by how much.
pub fn self_test(adapter: &AdapterReport, options: Options, unit: Cooperative) -> Result<()> {
    let options = Options {
        cooperative: Some(unit),
        ..options
    };
    let (g, results) = products()?;
    let mut gpu = Gpu::open(adapter, options)?;
    let got = run(&g, &results, &mut gpu)?;
    let want = run(&g, &results, &mut Cpu::new()?)?;
    for ((&t, got), want) in results.iter().zip(got).zip(want) {
        judge(&g.tensor(t).name, g.desc(t), &got, &want)?;
    }
    Ok(())
}

/// The products of the test, and their results.
fn products() -> Result<(Graph, Vec<TensorId>)> {
    let mut g = Graph::default();
    let f16 = |shape| TensorDesc {
        shape: Shape(shape),
        dtype: DType::F16,
    };
    let window = Window {
        kernel: 3,
        stride: 1,
        pad: 1,
    };
    let (x_shape, w_shape) = ([2, 9, 7, 48], Shape([3, 3, 48, 80]));
    let x = g.input("x", f16(x_shape));
    let dy = g.input("dy", f16([2, 9, 7, 80]));
    let w = g.input("w", TensorDesc::f32(w_shape));
    let mut results = Vec::new();
    for tile in Tile::ALL {
        let forward = Conv2d {
            window,
            bias: false,
            activate: false,
            moments: false,
            tile,
        };
        results.push(g.push1(forward, &[x, w])?);
        let grad_input = Conv2dGradInput {
            tile,
            ..Conv2dGradInput::new(window, Shape(x_shape))
        };
        results.push(g.push1(grad_input, &[dy, w])?);
        let grad_weight = Conv2dGradWeight {
            images_per_split: x_shape[0],
            tile,
            ..Conv2dGradWeight::new(window, Shape(x_shape), w_shape)
        };
        results.push(g.push1(grad_weight, &[x, dy])?);
    }
    Ok((g, results))
}

/// Runs the products on numbers from −1 to 1 without a pattern.
fn run(g: &Graph, results: &[TensorId], backend: &mut dyn Backend) -> Result<Vec<Vec<u8>>> {
    let plan = plan(g, 0..g.nodes().len(), results, backend.limits())?;
    let inputs: Vec<TensorId> = plan.owned.keys().copied().collect();
    let id = backend.compile(plan)?;
    for (number, &t) in inputs.iter().enumerate() {
        let desc = g.desc(t);
        let seed = number as u32 + 1;
        let values = (0..desc.shape.len() as u32).map(|i| {
            let bits = (i + 1).wrapping_mul(2_654_435_761).wrapping_mul(seed) ^ (i >> 3);
            ((bits >> 21) as f32 - 1024.0) / 1024.0
        });
        let bytes: Vec<u8> = match desc.dtype {
            DType::F16 => values
                .flat_map(|v| f16::from_f32(v).to_le_bytes())
                .collect(),
            _ => values.flat_map(f32::to_le_bytes).collect(),
        };
        backend.write(t, &bytes)?;
    }
    backend.run(id)?;
    results.iter().map(|&t| backend.read_value(id, t)).collect()
}

/// Sums in f32 may round in any order and direction: 2⁻¹⁶ of the largest is granted, where sums in f16 would be off
/// by 2⁻¹¹. What is stored as f16 may be off by one of its last digit beside.
fn judge(name: &str, desc: TensorDesc, got: &[u8], want: &[u8]) -> Result<()> {
    let numbers = |bytes: &[u8]| -> Vec<f64> {
        let (two, four) = (bytes.chunks_exact(2), bytes.chunks_exact(4));
        match desc.dtype {
            DType::F16 => two
                .map(|b| f16::from_le_bytes([b[0], b[1]]).to_f64())
                .collect(),
            _ => four
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]).into())
                .collect(),
        }
    };
    let (got, want) = (numbers(got), numbers(want));
    let digit = match desc.dtype {
        DType::F16 => 2.0_f64.powi(-10),
        _ => 0.0,
    };
    let largest = want.iter().fold(0.0_f64, |most, v| most.max(v.abs()));
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        // A NaN is in no bound.
        let near = (got - want).abs() <= digit * want.abs() + 2.0_f64.powi(-16) * largest;
        if !near {
            bail!("element {i} of {name} is {got}, not {want}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_element_is_found() {
        let (g, results) = products().unwrap();
        let want = run(&g, &results, &mut Cpu::new().unwrap()).unwrap();
        for (&t, want) in results.iter().zip(want) {
            let desc = g.desc(t);
            let judged = |number: usize, value: &dyn Fn(f32) -> f32| {
                let mut got = want.clone();
                match desc.dtype {
                    DType::F16 => {
                        let bytes = &mut got[2 * number..][..2];
                        let was = f16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
                        bytes.copy_from_slice(&f16::from_f32(value(was)).to_le_bytes());
                    }
                    _ => {
                        let bytes = &mut got[4 * number..][..4];
                        let was = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                        bytes.copy_from_slice(&value(was).to_le_bytes());
                    }
                }
                judge("it", desc, &got, &want).is_ok()
            };
            for number in [0, desc.shape.len() / 2, desc.shape.len() - 1] {
                assert!(judged(number, &|v| v));
                assert!(!judged(number, &|_| f32::NAN));
                assert!(!judged(number, &|v| v + 0.125));
                // What a sum in f16 loses of numbers like the largest.
                let in_f16 = judged(number, &|v| v + 2.0_f32.powi(-8));
                assert!(!in_f16 || desc.dtype == DType::F16);
            }
        }
    }
}
