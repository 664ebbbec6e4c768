//! The gather from a data set that one binding cannot cover, and with augmentations.
use crate::training::{Open, devices};
use resnet::data::{Augmentation, Flip};
use resnet::graph::Graph;
use resnet::ops::{AUGMENTATION_WORDS, Change, resize_taps};
use resnet::plan::{Limits, plan};
use resnet::tensor::{DType, Shape, TensorDesc};

/// Images of the data set, their side, and their channels.
const SET: [usize; 3] = [400, 8, 3];

/// Side of the results.
const SIZE: usize = 16;

/// Out of order, twice the same, from every shard, and one beyond the data set.
const INDICES: [u32; 9] = [399, 0, 169, 170, 5, 5, 220, 400, 333];

/// The bytes of the batch on a backend of [`devices`], planned for bindings of `max_binding` bytes, and the number of
/// dispatches.
fn gathered(
    open: Open,
    stored: DType,
    changes: Option<&[u32]>,
    max_binding: Option<usize>,
) -> (Vec<u8>, usize) {
    let mut backend = open();
    let [m, s, c] = SET;
    let (table, t) = resize_taps(s, SIZE);
    let mut g = Graph::default();
    let images = g.state("images", TensorDesc::u8(Shape([m, s, s, c])));
    let examples = TensorDesc::u32(Shape::examples(INDICES.len()));
    let indices = g.input("indices", examples);
    let taps = g.state("taps", TensorDesc::u32(Shape([SIZE, 1, 1, t])));
    let words = TensorDesc::u32(Shape([INDICES.len(), 1, 1, AUGMENTATION_WORDS]));
    let augmentation = changes.map(|_| g.input("augmentation", words));
    let x = g
        .gather_images(images, indices, taps, augmentation, SIZE, stored)
        .unwrap();
    let limits = backend.limits();
    let limits = Limits {
        max_binding: max_binding.unwrap_or(limits.max_binding),
        ..limits
    };
    let plan = plan(&g, 0..1, &[x], limits).unwrap();
    let dispatches = plan.dispatches.len();
    let id = backend.compile(plan).unwrap();
    let noise = |i: usize| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0];
    let pixels: Vec<u8> = (0..m * s * s * c).map(noise).collect();
    backend.write(images, &pixels).unwrap();
    backend
        .write(indices, bytemuck::cast_slice(&INDICES))
        .unwrap();
    backend.write(taps, bytemuck::cast_slice(&table)).unwrap();
    if let (Some(input), Some(words)) = (augmentation, changes) {
        backend.write(input, bytemuck::cast_slice(words)).unwrap();
    }
    backend.run(id).unwrap();
    (backend.read_value(id, x).unwrap(), dispatches)
}

/// All that may happen to images, to a batch of them.
fn changes() -> Vec<u32> {
    let all = Augmentation {
        seed: 7,
        rotate: 180.0,
        shift: 5,
        flip: Flip::Random,
        erase: 0.5,
        cutout: 4,
    };
    all.draw(1, &[0, 1, 2, 3, 4, 5, 6, 7, 8], SIZE)
}

#[test]
fn every_device_changes_images_to_the_same_bits() {
    let changes = changes();
    let each: Vec<Change> = changes.chunks(AUGMENTATION_WORDS).map(Change::of).collect();
    assert!(each.iter().any(|change| change.erased != [[0; 2]; 2]));
    assert!(each.iter().all(|change| change.turn[1] != 0));
    let mut of_devices = devices(DType::F32).into_iter();
    let (_, cpu) = of_devices.next().unwrap();
    let (want, _) = gathered(cpu, DType::F32, Some(&changes), None);
    for (name, open) in of_devices {
        let (got, _) = gathered(open, DType::F32, Some(&changes), None);
        assert!(got == want, "{name}");
    }
}

#[test]
fn a_data_set_over_one_binding_is_taken_in_shards() {
    let changes = changes();
    for stored in [DType::F32, DType::F16, DType::Bf16] {
        for (name, open) in devices(stored) {
            for changes in [None, Some(&changes[..])] {
                let (whole, one) = gathered(open, stored, changes, None);
                assert_eq!(one, 1);
                // The data set has 76,800 bytes, and the batch at most 27,648.
                let (pieces, dispatches) = gathered(open, stored, changes, Some(32 << 10));
                assert!((3..=4).contains(&dispatches), "{dispatches}");
                assert_eq!(pieces, whole, "{name}, {stored}");
                // Where bindings may begin anywhere, the batch is cut as well.
                if name == "cpu" {
                    let (pieces, dispatches) = gathered(open, stored, changes, Some(4 << 10));
                    assert!(dispatches > 2 * 76_800 / 4_096, "{dispatches}");
                    assert_eq!(pieces, whole, "{stored}");
                }
            }
        }
    }
}

#[test]
fn a_mirrored_image_has_its_columns_in_reverse() {
    let mirrored = [1, 0, 1, 1, 0, 1, 0, 0, 1];
    let words = mirrored.map(|side| {
        let change = Change {
            mirror: side == 1,
            ..Change::default()
        };
        change.words()
    });
    for (name, open) in devices(DType::F32) {
        let (plain, _) = gathered(open, DType::F32, None, None);
        let (got, _) = gathered(open, DType::F32, Some(&words.concat()), None);
        let row = SIZE * SET[2] * 4;
        let rows = plain.chunks_exact(row).zip(got.chunks_exact(row));
        for (i, (plain, got)) in rows.enumerate() {
            let pixels = plain.chunks_exact(SET[2] * 4);
            let want = match mirrored[i / SIZE] {
                0 => plain.to_vec(),
                _ => pixels.rev().flatten().copied().collect(),
            };
            assert_eq!(got, want, "{name}, row {i}");
        }
    }
}
