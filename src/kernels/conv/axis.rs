//! One axis of a convolution: which source positions each target position sees. The forward pass looks from y at
//! x, the gradient of the image from x at y; the kernels know only targets and sources.
use crate::kernels::Window;
use std::ops::Range;

/// A tap of the kernel: target `j` of its class sees position `j + shift` of the source's plane `plane`.
#[derive(Clone, Copy, Debug)]
pub struct Tap {
    /// Position in the kernel.
    pub k: usize,
    /// Remainder of the source position by the number of planes.
    pub plane: usize,
    /// Distance within the plane.
    pub shift: isize,
}

/// The targets `first, first + step, …`, `count` of them, which see the same taps.
#[derive(Debug)]
pub struct PixelClass {
    pub first: usize,
    pub step: usize,
    pub count: usize,
    pub taps: Vec<Tap>,
}

/// All targets of an axis, class by class. Source position `i` is number `i / planes` of plane `i % planes`.
#[derive(Debug)]
pub struct Axis {
    /// Target `i` belongs to class `i % classes.len()`.
    pub classes: Vec<PixelClass>,
    /// Source positions.
    pub source: usize,
    /// Target positions.
    pub target: usize,
    pub planes: usize,
}

/// Some targets of a class, which find the same taps inside the source.
#[derive(Debug)]
pub struct ColumnRun {
    pub targets: Range<usize>,
    pub taps: Vec<Tap>,
}

impl Axis {
    /// From `y` outputs at `x` inputs: output `o` sees input `o·stride + k − pad`.
    pub fn forward(x: usize, y: usize, window: Window) -> Axis {
        let Window {
            kernel,
            stride,
            pad,
        } = window;
        let tap = |k: usize| {
            let first = k as isize - pad as isize;
            Tap {
                k,
                plane: first.rem_euclid(stride as isize) as usize,
                shift: first.div_euclid(stride as isize),
            }
        };
        let class = PixelClass {
            first: 0,
            step: 1,
            count: y,
            taps: (0..kernel).map(tap).collect(),
        };
        Axis {
            classes: vec![class],
            source: x,
            target: y,
            planes: stride,
        }
    }

    /// From `x` inputs at `y` outputs: input `i` sees output `(i + pad − k) / stride` where that divides. The
    /// inputs with one remainder by the stride see the same taps.
    pub fn grad_input(x: usize, y: usize, window: Window) -> Axis {
        let Window {
            kernel,
            stride,
            pad,
        } = window;
        let class = |first: usize| {
            let distance = |k: usize| (first + pad) as isize - k as isize;
            let divides = |k: &usize| distance(*k).rem_euclid(stride as isize) == 0;
            let tap = |k: usize| Tap {
                k,
                plane: 0,
                shift: distance(k).div_euclid(stride as isize),
            };
            PixelClass {
                first,
                step: stride,
                count: (x - first).div_ceil(stride),
                taps: (0..kernel).filter(divides).map(tap).collect(),
            }
        };
        Axis {
            classes: (0..stride.min(x)).map(class).collect(),
            source: y,
            target: x,
            planes: 1,
        }
    }

    /// Positions of a plane of the source.
    pub fn plane_len(&self, plane: usize) -> usize {
        self.source.saturating_sub(plane).div_ceil(self.planes)
    }

    /// The positions before the first and after the last of plane 0 that some tap looks at.
    pub fn padding(&self) -> [usize; 2] {
        let mut padding = [0, 0];
        for class in &self.classes {
            for tap in &class.taps {
                let after = class.count as isize + tap.shift - self.plane_len(0) as isize;
                padding = [padding[0].max(-tap.shift), padding[1].max(after)];
            }
        }
        padding.map(|p| p as usize)
    }

    /// The targets of a class that find a tap inside the source.
    pub fn inside(&self, class: &PixelClass, tap: &Tap) -> Range<usize> {
        let bound = |j: isize| j.clamp(0, class.count as isize) as usize;
        let from = bound(-tap.shift);
        from..bound(self.plane_len(tap.plane) as isize - tap.shift).max(from)
    }

    /// Pairs of a target and a source that it sees.
    pub fn products(&self) -> usize {
        let class = |class: &PixelClass| -> usize {
            class
                .taps
                .iter()
                .map(|tap| self.inside(class, tap).len())
                .sum()
        };
        self.classes.iter().map(class).sum()
    }

    /// Cuts a class where a tap enters or leaves the source. A run may see nothing at all.
    pub fn runs(&self, class: &PixelClass) -> Vec<ColumnRun> {
        let mut cuts = vec![0, class.count];
        for tap in &class.taps {
            let inside = self.inside(class, tap);
            cuts.extend([inside.start, inside.end]);
        }
        cuts.sort_unstable();
        cuts.dedup();
        let run = |cut: &[usize]| {
            let targets = cut[0]..cut[1];
            let sees = |tap: &&Tap| {
                let inside = self.inside(class, tap);
                inside.start <= targets.start && targets.end <= inside.end
            };
            let taps = class.taps.iter().filter(sees).copied().collect();
            ColumnRun { targets, taps }
        };
        cuts.windows(2).map(run).collect()
    }

    /// The taps that target `i` finds inside the source, with the source positions.
    pub fn seen(&self, i: usize) -> impl Iterator<Item = (Tap, usize)> {
        let class = &self.classes[i % self.classes.len()];
        let j = (i / self.classes.len()) as isize;
        class.taps.iter().filter_map(move |tap| {
            let at = usize::try_from(j + tap.shift).ok()?;
            (at < self.plane_len(tap.plane)).then_some((*tap, at * self.planes + tap.plane))
        })
    }

    /// The source positions from the first to the last that some targets see.
    pub fn sources(&self, targets: Range<usize>) -> Range<usize> {
        let seen = || targets.clone().flat_map(|i| self.seen(i)).map(|(_, at)| at);
        match (seen().min(), seen().max()) {
            (Some(first), Some(last)) => first..last + 1,
            _ => 0..0,
        }
    }

    /// The most source positions that any `group` targets see, which start at a multiple of `group`.
    pub fn span(&self, group: usize) -> usize {
        let groups = (0..self.target).step_by(group);
        let spans = groups.map(|i| self.sources(i..self.target.min(i + group)).len());
        spans.max().unwrap_or(0)
    }
}
