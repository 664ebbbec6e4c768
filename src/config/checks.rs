//! What no range of a single setting says: settings that contradict each other, and flags that nothing would heed.
use super::{OptimizerName, Rate, ScheduleName, Source, TrainConfig, value_name};
use anyhow::{Result, bail, ensure};
use std::collections::BTreeMap;

/// The schedules that heed a setting of theirs.
const OF_SCHEDULES: [(&str, &[ScheduleName]); 3] = [
    (
        "lr_final",
        &[
            ScheduleName::Linear,
            ScheduleName::Cosine,
            ScheduleName::OneCycle,
        ],
    ),
    ("lr_epochs", FALLS),
    ("lr_gamma", FALLS),
];

/// The schedules that fall between epochs.
const FALLS: &[ScheduleName] = &[ScheduleName::Step, ScheduleName::Multistep];

/// Refuses settings that contradict each other; `said` is how one was given.
pub fn check(config: &TrainConfig, said: impl Fn(&str) -> String) -> Result<()> {
    let optim = &config.optim;
    ensure!(
        optim.optimizer == OptimizerName::Sgd || optim.momentum == 0.0,
        "{}: momentum is for the optimizer sgd; adamw has beta1 in its place",
        said("momentum")
    );
    ensure!(
        config.training.overfit.is_none() || config.training.val_split.is_none(),
        "{}: the batches of --overfit are the validation images too; leave --val-split out",
        said("overfit")
    );
    ensure!(
        config.run.name.is_none() || config.run.out.is_none(),
        "{}: --out says already which folder the run has; leave one of them out",
        said("name")
    );
    ensure!(
        !config.begin.new_head || config.begin.init.is_some(),
        "{}: the rest of the weights must come from somewhere: name them by --init",
        said("new_head")
    );
    ensure!(
        !(config.augment.flip && config.augment.flip_alternating),
        "{}: --flip mirrors by other choices; leave one of them out",
        said("flip_alternating")
    );
    check_rate(&config.rate, &said)?;
    ensure!(
        !optim.nesterov || optim.momentum > 0.0,
        "{}: Nesterov's momentum needs a momentum above 0",
        said("nesterov")
    );
    Ok(())
}

fn check_rate(rate: &Rate, said: impl Fn(&str) -> String) -> Result<()> {
    let heeds_final = OF_SCHEDULES[0].1.contains(&rate.schedule);
    ensure!(
        !heeds_final || rate.lr_final <= rate.lr,
        "{}: the learning rate falls, so that its last must not be above the highest, {}",
        said("lr_final"),
        rate.lr
    );
    if !FALLS.contains(&rate.schedule) {
        return Ok(());
    }
    let epochs = rate.lr_epochs.clone().map(|epochs| epochs.numbers());
    match (rate.schedule, epochs.as_deref()) {
        (ScheduleName::Step, Some([_])) => Ok(()),
        (ScheduleName::Step, _) => bail!(
            "{}: needs the number of epochs after which the learning rate falls each time, such as --lr-epochs 3",
            said("schedule")
        ),
        (_, Some(epochs)) if epochs.is_sorted_by(|a, b| a < b) => Ok(()),
        (_, Some(_)) => bail!(
            "{}: each epoch must come after the one before it",
            said("lr_epochs")
        ),
        (_, None) => bail!(
            "{}: needs the epochs after which the learning rate falls, such as --lr-epochs 5,8",
            said("schedule")
        ),
    }
}

/// Refuses flags that nothing would heed. What files and variables say may be meant for other commands.
pub fn check_heeded(config: &TrainConfig, sources: &BTreeMap<String, Source>) -> Result<()> {
    let flag = |key: &str| match sources.get(key) {
        Some(Source::Flag(flag)) => Some(flag.as_str()),
        _ => None,
    };
    let device = config.hardware.device.as_str();
    let unheeded = [
        ("threads", !["auto", "cpu"].contains(&device), "the CPU"),
        ("checked", device == "cpu", "GPUs"),
    ];
    for (key, is_unheeded, whose) in unheeded {
        if let (Some(flag), true) = (flag(key), is_unheeded) {
            bail!("{flag} is for {whose}, but the device is {device}");
        }
    }
    let schedule = config.rate.schedule;
    for (key, schedules) in OF_SCHEDULES {
        if let (Some(flag), false) = (flag(key), schedules.contains(&schedule)) {
            let names: Vec<String> = schedules.iter().map(value_name).collect();
            bail!(
                "{flag} is for --schedule {}, but the schedule is {}",
                names.join(" or "),
                value_name(&schedule)
            );
        }
    }
    if let (Some(flag), true) = (flag("decay_all"), config.optim.weight_decay == 0.0) {
        bail!("{flag} says what --weight-decay is for, but there is none");
    }
    let is_sgd = config.optim.optimizer == OptimizerName::Sgd;
    let adamws = ["beta1", "beta2", "eps"].into_iter().find_map(flag);
    if let (Some(flag), true) = (adamws, is_sgd) {
        bail!("{flag} is for --optimizer adamw, but the optimizer is sgd");
    }
    Ok(())
}
