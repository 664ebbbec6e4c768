//! Published counts, and that a network tells the choice that gives it.
use super::*;
use crate::model::{Order, table};
use clap::ValueEnum;

fn choice(name: Name, variant: Variant) -> Choice {
    Choice {
        name,
        variant: Some(variant),
        ..Choice::default()
    }
}

#[test]
fn published_networks_have_the_published_parameters_and_multiply_adds() {
    for (name, size, parameters, macs) in [
        (Name::Resnet18, 224, 11_689_512, 1_814_073_344),
        (Name::Resnet34, 224, 21_797_672, 3_663_761_408),
        (Name::Resnet50, 224, 25_557_032, 4_089_184_256),
        (Name::Resnet101, 224, 44_549_160, 7_801_405_440),
        (Name::Resnet152, 224, 60_192_808, 11_513_626_624),
        // The paper's table 6 has 0.27, 0.46, 0.66, 0.85 and 1.7 million.
        (Name::Resnet20, 32, 272_474, 40_813_184),
        (Name::Resnet32, 32, 466_906, 69_124_736),
        (Name::Resnet44, 32, 661_338, 97_436_288),
        (Name::Resnet56, 32, 855_770, 125_747_840),
        (Name::Resnet110, 32, 1_730_714, 253_149_824),
    ] {
        let classes = if size == 224 { 1000 } else { 10 };
        let arch = choice(name, Variant::Torchvision).arch(3, classes).unwrap();
        let rows = table(&arch, 1, size, Order::Nchw).unwrap();
        let macs_of_rows: usize = rows.iter().map(|row| row.macs).sum();
        let counted = parameters_of(&arch);
        assert_eq!((counted, macs_of_rows), (parameters, macs), "{name:?}");
        // The weights that a device must hold are all but BatchNorms' and the last bias.
        let kernels = rows
            .iter()
            .filter(|row| row.kind == "conv2d" || row.kind == "linear");
        let kernels: usize = kernels.map(|row| row.params).sum();
        assert_eq!(arch.values(), (kernels - classes) as u64);
    }
}

fn parameters_of(arch: &Arch) -> usize {
    parameters(arch).unwrap()
}

#[test]
fn layers_are_counted_as_the_names_say() {
    for &name in Name::all() {
        let blocks: usize = name.published().blocks.iter().sum();
        let per_block = if name.published().bottleneck { 3 } else { 2 };
        assert_eq!(per_block * blocks + 2, name.layers());
    }
}

#[test]
fn where_no_variant_is_chosen_18_and_34_are_the_chapters() {
    for &name in Name::all() {
        let arch = Choice {
            name,
            ..Choice::default()
        };
        let arch = arch.arch(1, 10).unwrap();
        let chapters = matches!(name, Name::Resnet18 | Name::Resnet34);
        assert_eq!((arch.conv_bias, arch.shortcut_bn), (chapters, !chapters));
    }
    let title = title(&Choice::default().arch(1, 10).unwrap());
    assert_eq!(
        title,
        "ResNet-18 (d2l): basic blocks 2,2,2,2 of width 64,128,256,512, 1 channel(s), 10 classes, \
         11,178,378 parameters"
    );
}

#[test]
fn a_network_tells_the_choice_that_gives_it() {
    let shapes = [
        (None, None),
        (Some(vec![4, 8]), Some(vec![1, 2])),
        (Some(vec![6]), Some(vec![1])),
    ];
    for &name in Name::all() {
        for &variant in Variant::value_variants() {
            for (preact, stem) in [(false, Stem::Imagenet), (true, Stem::Cifar)] {
                for (widths, blocks) in shapes.clone() {
                    let choice = Choice {
                        preact,
                        stem: Some(stem),
                        widths,
                        blocks,
                        ..choice(name, variant)
                    };
                    let arch = choice.arch(3, 7).unwrap();
                    let told = Choice::of(&arch).unwrap();
                    assert_eq!(told.arch(3, 7).unwrap(), arch);
                    if choice.blocks.is_none() {
                        assert_eq!(told, choice);
                    }
                }
            }
        }
    }
    let mut other = Choice::default().arch(1, 10).unwrap();
    other.stem = 63;
    assert_eq!(Choice::of(&other), None);
    assert!(super::title(&other).starts_with("ResNet: basic blocks 2,2,2,2"));
}

#[test]
fn images_that_cannot_be_halved_are_refused_with_the_smallest_that_can() {
    for (choice, smallest) in [
        (Choice::default(), 17),
        (choice(Name::Resnet20, Variant::D2l), 3),
    ] {
        let arch = choice.arch(1, 10).unwrap();
        assert!(arch.check_image(smallest, true).is_ok());
        let said = arch
            .check_image(smallest - 1, true)
            .unwrap_err()
            .to_string();
        let words = format!("--image-size {}: ", smallest - 1);
        assert!(
            said.starts_with(&words) && said.contains(&format!("take {smallest} at least")),
            "{said}"
        );
    }
}
