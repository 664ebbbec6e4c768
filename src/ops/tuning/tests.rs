//! Candidates, keys, and tables as text.
use super::*;
use crate::kernels::Window;
use crate::ops::{Conv2d, Conv2dGradInput, Conv2dGradWeight};
use crate::tensor::{DType, Shape};

const WINDOW: Window = Window {
    kernel: 3,
    stride: 1,
    pad: 1,
};

fn forward(x: Shape, c_out: usize, moments: bool) -> Convolution {
    let w = Shape([3, 3, x.c(), c_out]);
    Convolution {
        op: Conv2d {
            window: WINDOW,
            bias: false,
            activate: false,
            moments,
            tile: Tile::of(x.rows(), c_out),
        }
        .into(),
        inputs: [x, w].map(TensorDesc::f32).to_vec(),
    }
}

fn grad_weight(x: Shape, c_out: usize) -> Convolution {
    let w = Shape([3, 3, x.c(), c_out]);
    Convolution {
        op: Conv2dGradWeight::new(WINDOW, x, w).into(),
        inputs: [x, Shape([x.n(), x.0[1], x.0[2], c_out])]
            .map(TensorDesc::f32)
            .to_vec(),
    }
}

fn texts(convolution: &Convolution) -> Vec<String> {
    let candidates = convolution.candidates();
    candidates.iter().map(Tiling::to_string).collect()
}

#[test]
fn the_candidates_are_few_and_begin_with_the_shapes_own() {
    let x = Shape([256, 24, 24, 64]);
    assert_eq!(texts(&forward(x, 64, true)), ["128x64", "64x64", "32x64"]);
    // Workgroups of 9 tiles: 28, 56 and 14 splits; of 5 tiles 51.
    let dw = texts(&grad_weight(x, 64));
    assert_eq!(
        dw,
        ["64x64 by 10", "64x64 by 5", "64x64 by 19", "128x64 by 6"]
    );

    let x = Shape([256, 3, 3, 512]);
    let y = texts(&forward(x, 512, false));
    assert_eq!(y, ["64x64", "128x128", "128x64", "32x64"]);
    // As many tiles as fill a GPU: there is nothing to split.
    let dw = texts(&grad_weight(x, 512));
    assert_eq!(dw, ["64x64 by 256", "128x128 by 256"]);

    // Fewer rows than a large tile has, and fewer columns than any.
    assert_eq!(
        texts(&forward(Shape([1, 6, 6, 4]), 4, false)),
        ["32x64", "64x64"]
    );
    let dx = Conv2dGradInput::new(WINDOW, x);
    let of_dx = Convolution {
        op: dx.into(),
        inputs: [x, Shape([3, 3, 512, 512])].map(TensorDesc::f32).to_vec(),
    };
    assert_eq!(of_dx.candidates().len(), 4);
}

#[test]
fn the_key_tells_apart_whatever_may_change_the_time() {
    let x = Shape([8, 24, 24, 64]);
    let base = forward(x, 64, true);
    let mut strided = base.clone();
    if let Op::Conv2d(op) = &mut strided.op {
        op.window.stride = 2;
    }
    let mut half = base.clone();
    half.inputs[0].dtype = DType::F16;
    let all = [
        &base,
        &strided,
        &half,
        &forward(x, 64, false),
        &forward(x, 128, true),
        &forward(Shape([9, 24, 24, 64]), 64, true),
        &grad_weight(x, 64),
    ];
    let mut keys: Vec<String> = all.iter().map(|c| c.key().unwrap()).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), all.len(), "{keys:?}");
    for tiling in base.candidates() {
        let op = base.cut(tiling);
        let inputs = base.inputs.clone();
        assert_eq!(Convolution { op, inputs }.key(), base.key());
    }
}

#[test]
fn what_was_found_is_applied_to_its_own_convolution_only() {
    let x = Shape([8, 24, 24, 64]);
    let (y, dw) = (forward(x, 64, true), grad_weight(x, 64));
    let found = |c: &Convolution, text: &str| {
        let tiling = text.parse().unwrap();
        TuningTable([(c.key().unwrap(), tiling)].into())
    };
    let Some(Op::Conv2dGradWeight(op)) = found(&dw, "128x64 by 3").apply(&dw) else {
        panic!("another tiling was found");
    };
    assert_eq!(
        (op.tile.to_string().as_str(), op.images_per_split),
        ("128x64", 3)
    );
    assert_eq!(found(&dw, "128x64 by 3").apply(&y), None);
    let own = y.tiling().unwrap().to_string();
    assert_eq!(found(&y, &own).apply(&y), None);
}

#[test]
fn tables_are_read_back_or_refused() {
    let x = Shape([8, 24, 24, 64]);
    let own = [forward(x, 64, true), grad_weight(x, 64)];
    let own = own.map(|c| (c.key().unwrap(), c.tiling().unwrap()));
    let table = TuningTable(own.into());
    let read = |json: &str| serde_json::from_str::<TuningTable>(json);
    let json = serde_json::to_string(&table).unwrap();
    assert_eq!(read(&json).unwrap(), table);
    let sizes = "8×24×24×64 3×3×64×64 stride 1 pad 1";
    for (key, tiling, why) in [
        (
            format!("conv2d.grad_weight.vec4 {sizes}"),
            "64x64 by 9",
            "only 8 images",
        ),
        (
            format!("conv2d.grad_weight.vec4 {sizes}"),
            "64x64 by 4294967296",
            "only 8 images",
        ),
        (
            format!("conv2d.grad_weight.vec4 {sizes}"),
            "64x64",
            "is cut by images",
        ),
        (
            format!("conv2d.forward.vec4 {sizes}"),
            "64x64 by 4",
            "is cut by images",
        ),
        (format!("linear {sizes}"), "64x64", "no convolution's"),
        ("\u{1b}[31m".to_string(), "64x64", "no convolution's"),
        (
            "conv2d.forward 0×24×24×64 3×3×64×64 stride 1 pad 1".to_string(),
            "64x64",
            "a size",
        ),
        (
            "conv2d.forward 8×24×24×64 3×3×64×64 stride 0 pad 1".to_string(),
            "64x64",
            "a size",
        ),
        (
            "conv2d.forward 8×24×24 3×3×64×64 stride 1 pad 1".to_string(),
            "64x64",
            "a size",
        ),
    ] {
        let json = serde_json::to_string(&BTreeMap::from([(key, tiling)])).unwrap();
        let error = read(&json).unwrap_err().to_string();
        assert!(error.contains(why) && !error.contains('\u{1b}'), "{error}");
    }
}

#[test]
fn text_of_a_tiling_is_read_back_or_refused() {
    for text in ["128x128", "64x64 by 10"] {
        assert_eq!(text.parse::<Tiling>().unwrap().to_string(), text);
    }
    for (text, why) in [
        ("64x32", "none of 128x128"),
        ("64x64 by many", "no number of images"),
        ("64x64 by 0", "splits of nothing"),
    ] {
        let error = text.parse::<Tiling>().unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}
