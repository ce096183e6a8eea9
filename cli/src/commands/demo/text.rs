//! Step 3 of the demo: text from the bundled model, and the same text by the kernels of each family alone.

use serde::Serialize;
use tern_kernels::{Family, Force, Planner, Profile};
use tern_runtime::{GenerateOptions, Generated, Sampling};
use tern_tune::Tuning;

use super::{Demo, heading};
use crate::args::ProfileChoice;
use crate::commands::run::continue_text;
use crate::load::{Loaded, ModelName};
use crate::output::{DIM, GOOD, paint, plural, print_generated, warn};
use crate::plan::{ProfileUse, Setup, find_profile};
use crate::table::{Align, Table};

/// How the text begins.
const PROMPT: &str = "ROMEO:";

/// Tokens to generate: nearly the model's context.
const TOKENS: usize = 200;

/// How often each family generates the text. They take turns, and the best time counts: the text is short.
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

/// The text with some kernels.
#[derive(Serialize)]
struct Speed {
    /// `plan`, or a family.
    kernels: &'static str,
    tokens_per_second: f64,
    same_text: bool,
}

/// A model loaded with some kernels.
struct Contender {
    kernels: &'static str,
    loaded: Loaded,
    prompt: Vec<u32>,
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
        let speeds = self.speeds(&mut contenders, &generated)?;
        if self.watch.stopped() {
            return Ok(None);
        }
        let speed = format!("{:.0} tokens a second", speeds[0].tokens_per_second);
        let count = plural(generated.tokens.len(), "token");
        self.say(format_args!(
            "\n\n{}: {count}, best of {ROUNDS} times\n\n",
            paint(GOOD, speed)
        ))?;
        self.say(table(&speeds))?;
        if let Some(wrong) = speeds.iter().find(|speed| !speed.same_text) {
            warn(format_args!(
                "{} made another text, which must never happen: please report it",
                wrong.kernels
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

    /// The plan first, then each family alone, as far as this CPU has kernels of it.
    fn contenders(&self, profile: Option<&Profile>) -> anyhow::Result<Vec<Contender>> {
        let forced = self.args.engine.kernel.force.clone();
        let families = [Family::Lut, Family::Mad, Family::Addsub];
        let mut wanted = vec![("plan", forced.clone())];
        if forced.is_none() {
            wanted.extend(families.map(|family| (family.name(), Some(Force::Family(family)))));
        }
        let mut contenders = Vec::new();
        for (kernels, force) in wanted {
            let Ok(planner) = Planner::new(self.cpu.clone(), profile.cloned(), force) else {
                continue;
            };
            let setup = Setup {
                planner,
                threads: self.threads,
                profile: ProfileUse::Off,
            };
            let loaded = ModelName::Demo.load(setup)?;
            let prompt = loaded.model.tokenizer()?.encode(PROMPT, true)?;
            contenders.push(Contender {
                kernels,
                loaded,
                prompt,
            });
        }
        Ok(contenders)
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
    fn speeds(
        &self,
        contenders: &mut [Contender],
        expected: &Generated,
    ) -> anyhow::Result<Vec<Speed>> {
        let speed = |contender: &Contender| Speed {
            kernels: contender.kernels,
            tokens_per_second: 0.0,
            same_text: true,
        };
        let mut speeds: Vec<Speed> = contenders.iter().map(speed).collect();
        for _ in 0..ROUNDS {
            for (contender, speed) in contenders.iter_mut().zip(&mut speeds) {
                if self.watch.stopped() {
                    return Ok(speeds);
                }
                let again = self.generate(contender, &mut |_| Ok(()))?;
                speed.tokens_per_second = speed.tokens_per_second.max(again.stats.generate_rate());
                speed.same_text &= again.tokens == expected.tokens || self.watch.stopped();
            }
        }
        Ok(speeds)
    }
}

fn table(speeds: &[Speed]) -> String {
    let mut table = Table::new(&[
        ("kernels", Align::Left),
        ("tokens/s", Align::Right),
        ("text", Align::Left),
    ]);
    for speed in speeds {
        let kernels = match speed.kernels {
            "plan" => "as planned".to_owned(),
            family => format!("{family} only"),
        };
        let text = if speed.same_text {
            "the same"
        } else {
            "ANOTHER"
        };
        table.row([
            kernels,
            format!("{:.0}", speed.tokens_per_second),
            text.to_owned(),
        ]);
    }
    table.to_string()
}
