//! Step 3 of the demo: text from the bundled model, and the same text by the kernels of each family alone.

use serde::Serialize;
use tern_kernels::{Entry, Family, Force, Planner, Profile};
use tern_runtime::{GenerateOptions, Generated, Sampling};
use tern_tune::Tuning;

use super::{Demo, heading};
use crate::args::ProfileChoice;
use crate::commands::run::continue_text;
use crate::load::{Loaded, ModelName};
use crate::output::{DIM, GOOD, paint, plural, print_generated, warn};
use crate::plan::{ProfileUse, Setup, ThreadsOf, find_profile};
use crate::table::{Align, Table};

/// How the text begins.
const PROMPT: &str = "ROMEO:";

/// Tokens to generate: nearly the model's context.
const TOKENS: usize = 200;

/// How often each contender generates the text. They take turns, and the best time counts: the text is short.
const ROUNDS: usize = 3;

/// What was generated, and how fast.
#[derive(Serialize)]
pub(super) struct Text {
    /// The profile, if the user chose another than the one just tuned.
    profile: Option<ProfileUse>,
    prompt: &'static str,
    generated: Generated,
    speeds: Vec<Speed>,
}

/// The speed of some kernels on some threads.
#[derive(Clone, Serialize)]
struct Speed {
    /// `plan`, or a family.
    kernels: &'static str,
    /// Whether the profile names such kernels for all matrices, some or none: the others are chosen by estimate.
    tuned: Tuned,
    threads: usize,
    tokens_per_second: f64,
    same_text: bool,
}

/// For how many of the profile's matrices its kernel is used.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Tuned {
    All,
    Some,
    None,
}

/// A model loaded with some kernels.
struct Contender {
    loaded: Loaded,
    prompt: Vec<u32>,
    speed: Speed,
}

impl Demo<'_> {
    /// Step 3; `None` if the user stopped it.
    pub(super) fn text(&self, tuning: &Tuning) -> anyhow::Result<Option<Text>> {
        self.say(heading(
            3,
            "Text from the bundled model, a very small one that has read some Shakespeare",
        ))?;
        let (profile, choice) = self.profile(tuning)?;
        match &choice {
            Some(choice) => self.say(format_args!("{choice}\n\n"))?,
            None => self.say("with the kernels that were just found\n\n")?,
        }
        let mut contenders = self.contenders(profile.as_ref())?;
        self.say(paint(DIM, PROMPT))?;
        let mut show = |piece: &str| match self.args.json.json {
            true => Ok(()),
            false => print_generated(piece),
        };
        let generated = self.generate(&mut contenders[0], &mut show)?;
        self.say("\n\n")?;
        self.race(&mut contenders, &generated)?;
        if self.watch.stopped() {
            return Ok(None);
        }
        let speeds: Vec<Speed> = contenders
            .into_iter()
            .map(|contender| contender.speed)
            .collect();
        let count = plural(generated.tokens.len(), "token");
        self.say(format_args!(
            "{}{count}, best of {ROUNDS} times\n",
            table(&speeds)
        ))?;
        if speeds.len() > 1
            && speeds[1].threads == 1
            && speeds[1].tokens_per_second > speeds[0].tokens_per_second
        {
            self.say("So small a model is faster on one thread: to share its matrices costs more than it saves.\n")?;
        }
        if let Some(wrong) = speeds.iter().find(|speed| !speed.same_text) {
            let kernels = wrong.kernels;
            warn(format_args!(
                "{kernels} made another text, which must never happen: please report it"
            ));
        }
        Ok(Some(Text {
            profile: choice,
            prompt: PROMPT,
            generated,
            speeds,
        }))
    }

    /// The profile to generate with: the one just tuned, unless the user wants another.
    fn profile(&self, tuning: &Tuning) -> anyhow::Result<(Option<Profile>, Option<ProfileUse>)> {
        match self.args.engine.profile.choice() {
            ProfileChoice::Find => Ok((Some(tuning.profile.clone()), None)),
            choice => find_profile(&choice, &self.cpu).map(|(profile, used)| (profile, Some(used))),
        }
    }

    /// The plan first, also on one thread, which may be enough for so small a model; then each family alone, as far as
    /// this CPU has kernels of it.
    fn contenders(&self, profile: Option<&Profile>) -> anyhow::Result<Vec<Contender>> {
        let forced = self.args.engine.kernel.force.clone();
        let mut wanted = vec![("plan", self.threads, forced.clone())];
        if self.threads > 1 {
            wanted.push(("plan", 1, forced.clone()));
        }
        if forced.is_none() {
            let families = Family::ALL.into_iter();
            let families = families.filter(|&family| family != Family::Reference);
            let one = |family: Family| (family.name(), self.threads, Some(Force::Family(family)));
            wanted.extend(families.map(one));
        }
        let mut contenders = Vec::new();
        for (kernels, threads, force) in wanted {
            let tuned = self.tuned(profile, force.as_ref());
            let Ok(planner) = Planner::new(self.cpu.clone(), profile.cloned(), force) else {
                continue;
            };
            let setup = Setup {
                planner,
                threads,
                threads_of: ThreadsOf::User,
                profile: ProfileUse::Off,
                head: tern_runtime::HeadMode::Exact,
                residence: tern_runtime::Residence::Auto,
                kv: self.args.engine.kv.or_f16(),
                reading: tern_runtime::ReadOptions::default(),
            };
            let loaded = ModelName::Demo.load(setup)?;
            let prompt = loaded.model.tokenizer()?.encode(PROMPT, true)?;
            let speed = Speed {
                kernels,
                tuned,
                threads,
                tokens_per_second: 0.0,
                same_text: true,
            };
            contenders.push(Contender {
                loaded,
                prompt,
                speed,
            });
        }
        Ok(contenders)
    }

    /// How many matrices of `profile` are left with their tuned kernel if `force` is obeyed.
    fn tuned(&self, profile: Option<&Profile>, force: Option<&Force>) -> Tuned {
        let Some(profile) = profile else {
            return Tuned::None;
        };
        let is_kept = |entry: &&Entry| match force {
            None => true,
            Some(Force::Id(id)) => entry.kernel == *id,
            Some(Force::Family(family)) => {
                let kernel = self.cpu.kernel(&entry.kernel);
                kernel.is_some_and(|kernel| kernel.family == *family)
            }
        };
        match profile.entries.iter().filter(is_kept).count() {
            0 => Tuned::None,
            kept if kept == profile.entries.len() => Tuned::All,
            _ => Tuned::Some,
        }
    }

    fn generate(
        &self,
        contender: &mut Contender,
        show: &mut dyn FnMut(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<Generated> {
        let sampling = Sampling {
            temperature: 0.8,
            top_p: 0.95,
            seed: self.args.seed,
            ..Sampling::default()
        };
        let options = GenerateOptions {
            max_tokens: TOKENS,
            sampling,
            ignore_stop_ids: true,
            ..GenerateOptions::default()
        };
        continue_text(
            &mut contender.loaded,
            &contender.prompt,
            &options,
            &self.watch,
            show,
        )
    }

    /// The text again and again, by turns.
    fn race(&self, contenders: &mut [Contender], expected: &Generated) -> anyhow::Result<()> {
        for _ in 0..ROUNDS {
            for contender in &mut *contenders {
                let again = self.generate(contender, &mut |_| Ok(()))?;
                if self.watch.stopped() {
                    return Ok(());
                }
                let speed = &mut contender.speed;
                speed.tokens_per_second = speed.tokens_per_second.max(again.stats.generate_rate());
                speed.same_text &= again.tokens == expected.tokens;
            }
        }
        Ok(())
    }
}

fn table(speeds: &[Speed]) -> String {
    let mut table = Table::new(&[
        ("kernels", Align::Left),
        ("threads", Align::Right),
        ("tokens a second", Align::Right),
        ("text", Align::Left),
    ]);
    let best = speeds
        .iter()
        .map(|speed| speed.tokens_per_second)
        .fold(0.0, f64::max);
    for speed in speeds {
        let kernels = match speed.kernels {
            "plan" => "as planned".to_owned(),
            family => format!("{family} only"),
        };
        let kernels = match speed.tuned {
            Tuned::All => kernels,
            Tuned::Some => format!("{kernels} (partly not tuned)"),
            Tuned::None => format!("{kernels} (not tuned)"),
        };
        let style = match speed.tokens_per_second == best {
            true => GOOD,
            false => anstyle::Style::new(),
        };
        let text = if speed.same_text {
            "the same"
        } else {
            "ANOTHER"
        };
        let rate = format!("{:.0}", speed.tokens_per_second);
        table.styled_row(
            style,
            [kernels, speed.threads.to_string(), rate, text.to_owned()],
        );
    }
    table.to_string()
}
