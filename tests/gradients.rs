//! Every gradient rule against central differences on the CPU.
use crate::case::Case;
use crate::cases;
use crate::device::floats;
use resnet::backend::{Backend, PlanId, cpu::Cpu};
use resnet::graph::TensorId;
use resnet::plan::{Limits, plan};

/// A power of two, so that the step itself is hardly rounded. The cases keep 1/8 from every kink.
const STEP: f32 = 1.0 / 32.0;

/// Directions per tensor: random signs everywhere, then single elements from both ends.
const DENSE: usize = 4;
const SINGLE: usize = 8;

#[test]
fn gradients_match_finite_differences() {
    let mut wrong = Vec::new();
    for case in cases::all() {
        if let Some((y, dy)) = case.seed {
            assert!(!case.gradients.is_empty(), "{}: no gradient", case.name);
            let mut forward = Forward::new(&case, y, dy);
            for &(x, dx) in &case.gradients {
                wrong.extend(forward.check(x, dx).err());
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// `L = Σ dy·y` as a function of any of the case's tensors.
struct Forward<'c> {
    case: &'c Case,
    cpu: Cpu,
    forward: PlanId,
    backward: PlanId,
    y: TensorId,
    dy: Vec<f32>,
}

impl<'c> Forward<'c> {
    fn new(case: &'c Case, y: TensorId, dy: TensorId) -> Forward<'c> {
        let mut cpu = Cpu::new().unwrap();
        let keep: Vec<TensorId> = case.gradients.iter().map(|(_, dx)| *dx).collect();
        let all = plan(&case.g, 0..case.g.nodes().len(), &keep, Limits::NONE).unwrap();
        let first = plan(&case.g, 0..case.forward, &[y], Limits::NONE).unwrap();
        let owned = all.owned.clone();
        let backward = cpu.compile(all).unwrap();
        let forward = cpu.compile(first).unwrap();
        for (t, bytes) in &case.data {
            if owned.contains_key(t) {
                cpu.write(*t, bytes).unwrap();
            }
        }
        let weights = case.data.iter().find(|(t, _)| *t == dy).unwrap();
        let dy = floats(&weights.1);
        Forward {
            case,
            cpu,
            forward,
            backward,
            y,
            dy,
        }
    }

    /// `L` and the Euclidean norm of its terms, which its rounding error is proportional to.
    fn loss(&mut self) -> (f64, f64) {
        self.cpu.run(self.forward).unwrap();
        let y = floats(&self.cpu.read_value(self.forward, self.y).unwrap());
        let terms = y
            .iter()
            .zip(&self.dy)
            .map(|(y, dy)| f64::from(*y) * f64::from(*dy));
        let (sum, squares) = terms.fold((0.0, 0.0), |(s, q), t| (s + t, q + t * t));
        (sum, squares.sqrt())
    }

    /// A gradient at the case's own point. That of a sum is `dy` itself, an input.
    fn gradient(&mut self, dx: TensorId) -> Vec<f32> {
        if let Some((_, bytes)) = self.case.data.iter().find(|(t, _)| *t == dx) {
            return floats(bytes);
        }
        self.cpu.run(self.backward).unwrap();
        floats(&self.cpu.read_value(self.backward, dx).unwrap())
    }

    /// Compares `Σ dx·v` with the derivative of `L` along `v`, for several directions.
    fn check(&mut self, x: TensorId, dx: TensorId) -> Result<(), String> {
        let bytes = &self.case.data.iter().find(|(t, _)| *t == x).unwrap().1;
        let at = floats(bytes);
        let dx = self.gradient(dx);
        let scale = self.loss().1;
        for direction in 0..DENSE + SINGLE {
            let v = direction_of(at.len(), direction);
            // Richardson's extrapolation of two central differences has an error of the order h⁴.
            let (wide, narrow) = (
                self.slope(x, &at, &v, STEP),
                self.slope(x, &at, &v, STEP / 2.0),
            );
            let want = (4.0 * narrow - wide) / 3.0;
            let terms = dx
                .iter()
                .zip(&v)
                .map(|(g, v)| f64::from(*g) * f64::from(*v));
            let (got, squares) = terms.fold((0.0, 0.0), |(s, q), t| (s + t, q + t * t));
            // Each y carries some units of 2⁻²⁴, which the division by h/2 magnifies; a wrong rule
            // is off by the norm of dx·v itself, of which a thousandth is granted.
            let rounding = 8.0 * 2.0_f64.powi(-24) * scale / f64::from(STEP / 2.0);
            let tolerance = 1e-3 * squares.sqrt() + rounding;
            let error = (got - want).abs();
            if error > tolerance || error.is_nan() {
                let name = &self.case.g.tensor(x).name;
                return Err(format!(
                    "{}: d.{name} along direction {direction}: {got}, but differences give {want} (± {tolerance:.1e})",
                    self.case.name
                ));
            }
        }
        self.cpu.write(x, bytes).unwrap();
        Ok(())
    }

    /// The central difference along `v` with step `h`; leaves `x` moved.
    fn slope(&mut self, x: TensorId, at: &[f32], v: &[f32], h: f32) -> f64 {
        let mut at_distance = |h: f32| {
            let moved: Vec<f32> = at.iter().zip(v).map(|(x, v)| x + h * v).collect();
            self.cpu.write(x, bytemuck::cast_slice(&moved)).unwrap();
            self.loss().0
        };
        (at_distance(h) - at_distance(-h)) / (2.0 * f64::from(h))
    }
}

/// Signs from the bits of a multiplicative hash, or one element alone.
fn direction_of(len: usize, number: usize) -> Vec<f32> {
    if number < DENSE {
        let sign = |i: usize| {
            let hash = ((i + len * number) as u32).wrapping_mul(0x9e37_79b9);
            if (hash ^ (hash >> 15)).count_ones().is_multiple_of(2) {
                1.0
            } else {
                -1.0
            }
        };
        return (0..len).map(sign).collect();
    }
    let k = number - DENSE;
    let i = if k.is_multiple_of(2) {
        k / 2
    } else {
        len.saturating_sub(1 + k / 2)
    };
    let mut v = vec![0.0; len];
    v[i.min(len - 1)] = 1.0;
    v
}
