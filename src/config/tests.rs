//! The order of precedence, what is refused, and what a resumed run may change.
use super::*;
use clap::{Args, Command};

fn file(text: &str) -> Result<Layer> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    Layer::file(file.path())
}

/// The settings of a file.
fn written(text: &str) -> Result<TrainConfig> {
    Ok(resolve(&[file(text)?])?.config)
}

/// What flags alone give.
fn flags(flags: &[&str]) -> Vec<Layer> {
    let command = Given::<TrainConfig>::augment_args(Command::new("resnet").no_binary_name(true));
    let matches = command.try_get_matches_from(flags).unwrap();
    let given = Given::<TrainConfig>::from_arg_matches(&matches).unwrap();
    given.layers().to_vec()
}

fn tilings() -> TuningTable {
    let tiling = "128x64 by 7".parse().unwrap();
    TuningTable(
        [(
            "conv2d.grad_weight 32×2×3×4 3×3×4×8 stride 1 pad 1".to_string(),
            tiling,
        )]
        .into(),
    )
}

#[test]
fn the_chapters_file_says_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/d2l.toml");
    let config = resolve(&[Layer::file(&path).unwrap()]).unwrap().config;
    assert_eq!(config, TrainConfig::default());
}

#[test]
fn the_page_of_settings_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/settings.md");
    let page = std::fs::read_to_string(path).unwrap();
    assert!(
        page == reference(),
        "write it anew: resnet config --reference > docs/settings.md"
    );
}

#[test]
fn what_is_written_is_read() {
    let all = file(
        "device = \"cpu\"\nthreads = 3\nprecision = \"bf16\"\nmatmul_precision = \"medium\"\nfuse = false\n\
         checked = true\ndata = \"somewhere\"\nlimit_batches = 4\nbatch_size = 7\nmicro_batch = \"auto\"\n\
         arch = \"resnet50\"\nvariant = \"d2l\"\npreact = true\nstem = \"cifar\"\nwidths = [4, 8]\nblocks = \"1,2\"\n\
         zero_init_residual = true\nimage_size = 28\nresize = 32\nmean = [0.485, 0]\nstd = \"0.229,0.5\"\nmomentum = 0.9\nnesterov = true\nbeta1 = 0.8\nbeta2 = 0.99\neps = 0.000001\n\
         weight_decay = 0.0001\nema = 0.999\nschedule = \"cosine\"\nwarmup = 5\nlr = 0.1\nepochs = 3\n\
         seed = 9223372036854775807\nshuffle = false\nout = \"there\"\nsave_every = 5\n",
    );
    let all = [all.unwrap()];
    let mut config = resolve(&all).unwrap().config;
    config.tilings = tilings();
    assert!(!config.random.shuffle && !config.hardware.fuse && config.optim.nesterov);
    let choice = config.network.choice();
    assert_eq!(
        (choice.widths, choice.blocks),
        (Some(vec![4, 8]), Some(vec![1, 2]))
    );
    let levels = |levels: &Option<Levels>| levels.clone().unwrap().0;
    let preprocessing = &config.preprocessing;
    assert_eq!(levels(&preprocessing.mean), [0.485, 0.0]);
    assert_eq!(levels(&preprocessing.std), [0.229, 0.5]);
    assert_eq!(written(&config.to_toml().unwrap()).unwrap(), config);
    config.batch.micro_batch = Some(MicroBatch::Examples(64));
    assert_eq!(written(&config.to_toml().unwrap()).unwrap(), config);
}

/// The file of a run as the program wrote it before settings had groups.
#[test]
fn the_file_of_an_older_run_is_read() {
    let old = "epochs = 2\nlr = 0.1\nbatch_size = 32\nmicro_batch = 16\nimage_size = 28\nseed = 3\ndevice = \"cpu\"\n\
               shuffle = false\nmomentum = 0.8999999761581421\nnesterov = true\nweight_decay = 0.0\nfuse = false\n\
               matmul_precision = \"high\"\nprecision = \"f16\"\ndeterministic = false\n\n[tilings]\n\
               \"conv2d.grad_weight 32×2×3×4 3×3×4×8 stride 1 pad 1\" = \"128x64 by 7\"\n";
    let config = written(old).unwrap();
    assert_eq!((config.run.epochs, config.random.seed), (2, 3));
    assert_eq!((config.rate.lr, config.optim.momentum), (0.1, 0.9));
    assert!(!config.random.shuffle && !config.hardware.fuse);
    assert_eq!(config.hardware.precision, Precision::F16);
    assert_eq!(config.tilings, tilings());
}

#[test]
fn flags_beat_the_file_and_the_file_the_defaults() {
    let file = file("lr = 0.1\nepochs = 3\nshuffle = false\nnesterov = true\nmomentum = 0.5\n");
    let mut layers = vec![file.unwrap()];
    layers.extend(flags(&["--lr", "0.2", "--nesterov=false"]));
    let Resolved { config, sources } = resolve(&layers).unwrap();
    assert_eq!((config.rate.lr, config.run.epochs), (0.2, 3));
    assert!(!config.random.shuffle && !config.optim.nesterov);
    assert_eq!(config.batch.batch_size, 256);
    assert_eq!(sources["lr"], Source::Flag("--lr".to_string()));
    assert!(matches!(sources["epochs"], Source::File(_)));
    assert!(!sources.contains_key("seed"));
}

#[test]
fn numbers_are_printed_as_they_were_given() {
    let given = [
        "--lr",
        "0.1",
        "--optimizer",
        "adamw",
        "--beta2",
        "0.9",
        "--eps",
        "0.000001",
    ];
    let printed = resolve(&flags(&given)).unwrap().to_string();
    let line = |key: &str| printed.lines().find(|line| line.starts_with(key)).unwrap();
    assert_eq!(line("lr = "), format!("{:32} # --lr", "lr = 0.1"));
    assert!(line("beta2 = ").starts_with("beta2 = 0.9 "));
    assert!(line("eps = ").starts_with("eps = 0.000001 "));
    assert_eq!(line("weight_decay = "), "weight_decay = 0.0");
}

#[test]
fn an_unknown_key_names_a_near_one_or_all() {
    let says = |text: &str| format!("{:#}", file(text).unwrap_err());
    assert!(says("momentun = 0.9").contains("did you mean `momentum`?"));
    let far = says("network = 1");
    assert!(
        !far.contains("did you mean") && far.contains("the settings are device,"),
        "{far}"
    );
}

/// A file of weights may say what is left open, so that only who makes a network finds these.
#[test]
fn networks_that_there_are_not_are_refused_where_they_are_made() {
    for (text, wanted) in [
        (
            "widths = [8, 16]",
            "widths 8,16 and blocks 2,2,2,2 must be of the same number of stages",
        ),
        (
            "blocks = [1,1,1,1,1,1,1]\nwidths = [1,1,1,1,1,1,1]",
            "from 1 to 6 stages",
        ),
        (
            "widths = [16384, 16384, 16384, 16384]",
            "weights: they must be at most",
        ),
    ] {
        let choice = written(text).unwrap().network.choice();
        let error = choice.arch(1, 1).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn wrong_values_are_named() {
    let says = |text: &str, words: &str| {
        let error = format!("{:#}", written(text).unwrap_err());
        assert!(error.contains(words), "{error}");
    };
    says("epochs = \"ten\"", "epochs = ten: must be a whole number");
    says("epochs = [1]", "epochs must be one value");
    says("lr = -0.1", "lr = -0.1: must be a positive number");
    says("lr = nan", "lr = nan: must be a positive number");
    says(
        "momentum = 1.0",
        "momentum = 1.0: must be from 0 to below 1",
    );
    says("batch_size = 0", "batch_size = 0: must be at least 1");
    says("micro_batch = 1", "micro_batch = 1: must be at least 2");
    says(
        "micro_batch = \"half\"",
        "micro_batch = half: must be `auto` or a number",
    );
    says("save_every = 0", "save_every = 0: must be at least 1");
    says("limit_batches = 0", "limit_batches = 0: must be at least 1");
    says(
        "precision = \"f8\"",
        "precision = f8: must be one of f32, f16, bf16",
    );
    says("shuffle = \"perhaps\"", "shuffle = perhaps");
    says("device = \"\"", "device = : must not be empty");
    says(
        "optimizer = \"adam\"",
        "optimizer = adam: did you mean `adamw`? It must be one of sgd, adamw",
    );
    says(
        "arch = \"resnet51\"",
        "arch = resnet51: did you mean `resnet50`? It must be one of resnet18, resnet34",
    );
    says("arch = \"vgg\"", "arch = vgg: must be one of resnet18");
    says(
        "widths = [8.5]",
        "widths = 8.5: must be whole numbers with commas",
    );
    says("widths = \"8,,8\"", "must be whole numbers with commas");
    says("blocks = [2, 0]", "blocks = 2,0: each must be at least 1");
    says(
        "optimizer = \"adamw\"\nmomentum = 0.9",
        "momentum = 0.9: momentum is for the optimizer sgd",
    );
    says(
        "seed = 9223372036854775807\nnesterov = true",
        "nesterov = true: Nesterov's momentum needs a momentum above 0",
    );
    says(
        "schedule = \"step\"",
        "schedule = step: needs the number of epochs after which the learning rate falls each time",
    );
    says(
        "schedule = \"multistep\"\nlr_epochs = [5, 5]",
        "lr_epochs = 5,5: each epoch must come after the one before it",
    );
    says(
        "lr = 0.1\nlr_final = 0.2\nschedule = \"linear\"",
        "lr_final = 0.2: the learning rate falls, so that its last must not be above the highest, 0.1",
    );
    says("tilings = 3", "tilings");
    says("out = \"\"", "must not be empty");
    says(
        "threads = 100000",
        "threads = 100000: must be at most 1024, since threads",
    );
    says("threads = 0", "threads = 0: must be at least 1");
    says("image_size = 100000", "must be at most 4096, whose");
    says("seed = -1", "seed = -1: must be at least 0");
    says("warmup = -1", "warmup = -1: must be at least 0");
    says("micro_batch = 2000000", "must be at most 1048576");
}

#[test]
fn a_batch_of_one_cannot_be_trained_on() {
    let config = written("batch_size = 1").unwrap();
    assert!(config.check_training().is_err());
    assert!(TrainConfig::default().check_training().is_ok());
}

#[test]
fn a_resumed_run_keeps_what_decides_its_bits() {
    let run = || file(&TrainConfig::default().to_toml().unwrap()).unwrap();
    let may = flags(&[
        "--epochs=20",
        "--lr=0.1",
        "--data=sample",
        "--device=cpu",
        "--save-every=3",
    ]);
    let config = resume(run(), &may).unwrap().config;
    assert_eq!((config.run.epochs, config.rate.lr), (20, 0.1));
    for flag in [
        "--seed=1",
        "--precision=f16",
        "--micro-batch=64",
        "--no-shuffle",
        "--no-fuse",
    ] {
        let error = resume(run(), &flags(&[flag])).unwrap_err().to_string();
        let name = flag.split('=').next().unwrap();
        assert!(
            error.starts_with(name) && error.contains("--epochs"),
            "{error}"
        );
    }
    // What says the same as the run is no change.
    assert!(resume(run(), &flags(&["--seed=0", "--precision=f32"])).is_ok());
    // Nor is the run's own file blamed for what contradicts it.
    let alternating = file("flip_alternating = true").unwrap();
    let error = resume(alternating, &flags(&["--flip"]))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("--flip true: a resumed run keeps its settings"),
        "{error}"
    );
}

#[test]
fn a_runs_tilings_yield_to_deterministic_but_not_on_resume() {
    let tuned = TrainConfig {
        tilings: tilings(),
        ..TrainConfig::default()
    };
    let run = || file(&tuned.to_toml().unwrap()).unwrap();
    let mut layers = vec![run()];
    assert_eq!(resolve(&layers).unwrap().config, tuned);
    layers.extend(flags(&["--deterministic"]));
    assert!(resolve(&layers).unwrap().config.tilings.is_empty());
    assert!(resume(run(), &layers[1..]).is_err());
    assert_eq!(resume(run(), &[]).unwrap().config, tuned);
    let wrong = tuned.to_toml().unwrap().replace("128x64", "100x64");
    let error = format!("{:#}", file(&wrong).unwrap_err());
    assert!(error.contains("none of 128x128"), "{error}");
}

#[test]
fn a_device_is_no_property_of_a_run() {
    let run = file("device = \"radeon\"\nprecision = \"bf16\"").unwrap();
    let config = resolve(&[run.without_device()]).unwrap().config;
    assert_eq!(config.hardware.device, "auto");
    assert_eq!(config.hardware.precision, Precision::Bf16);
}

#[test]
fn flags_that_nothing_heeds_are_refused() {
    let refused = |given: &[&str]| resolve(&flags(given)).unwrap_err();
    for (given, says) in [
        (
            &["--threads=2", "--device=gpu"][..],
            "--threads is for the CPU",
        ),
        (
            &["--threads=2", "--device=radeon"],
            "--threads is for the CPU",
        ),
        (&["--checked", "--device=cpu"], "--checked is for GPUs"),
        (&["--beta1=0.8"], "--beta1 is for --optimizer adamw"),
        (
            &["--decay-all"],
            "--decay-all says what --weight-decay is for",
        ),
        (
            &["--lr-epochs=3", "--schedule=cosine"],
            "--lr-epochs is for --schedule step or multistep, but the schedule is cosine",
        ),
        (
            &["--eps=0.1", "--optimizer=sgd"],
            "--eps is for --optimizer adamw",
        ),
        (
            &["--nesterov"],
            "--nesterov true: Nesterov's momentum needs",
        ),
        (
            &["--momentum=0.9", "--optimizer=adamw"],
            "--momentum 0.9: momentum is for the optimizer sgd",
        ),
    ] {
        let error = refused(given);
        assert!(
            error.is::<Usage>() && error.to_string().starts_with(says),
            "{error}"
        );
    }
    assert!(resolve(&flags(&["--threads=2", "--device=cpu"])).is_ok());
}
