//! Weight names of diffusers, current and legacy.
//!
//! Ours are the current ones. Files written before diffusers 0.15, and those of the published DDPM models among them,
//! call the four projections of an attention block by other names; nothing else differs.

use std::borrow::Cow;

/// Legacy and current name of each projection in an attention block.
const PROJECTIONS: [(&str, &str); 4] =
    [("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")];

/// The current name of a weight, whichever of the two names it comes under.
///
/// ```
/// use ddpm::nn::diffusers::current_name;
/// assert_eq!(current_name("mid_block.attentions.0.proj_attn.bias"), "mid_block.attentions.0.to_out.0.bias");
/// assert_eq!(current_name("conv_in.weight"), "conv_in.weight");
/// ```
pub fn current_name(name: &str) -> Cow<'_, str> {
    rename(name, PROJECTIONS)
}

/// The name that files written before diffusers 0.15 have for a weight.
pub fn legacy_name(name: &str) -> Cow<'_, str> {
    rename(name, PROJECTIONS.map(|(legacy, current)| (current, legacy)))
}

/// Replaces the projection in `[...]attentions.N.PROJECTION.{weight,bias}`.
fn rename<'a>(name: &'a str, names: [(&str, &str); 4]) -> Cow<'a, str> {
    let renamed = || {
        let (path, leaf) = name.rsplit_once('.')?;
        let (start, block) = path.split_at(path.rfind("attentions.")? + "attentions.".len());
        let (index, projection) = block.split_once('.')?;
        let (_, to) = names.into_iter().find(|(from, _)| *from == projection)?;
        Some(format!("{start}{index}.{to}.{leaf}"))
    };
    renamed().map_or(Cow::Borrowed(name), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projections_have_two_names_and_translate_both_ways() {
        for block in ["mid_block.attentions.0", "down_blocks.1.attentions.12"] {
            for (legacy, current) in PROJECTIONS {
                for leaf in ["weight", "bias"] {
                    let (legacy, current) = (format!("{block}.{legacy}.{leaf}"), format!("{block}.{current}.{leaf}"));
                    assert_eq!(current_name(&legacy), current);
                    assert_eq!(legacy_name(&current), legacy);
                    assert_eq!(current_name(&current), current);
                    assert_eq!(legacy_name(&legacy), legacy);
                }
            }
        }
    }

    #[test]
    fn other_names_stay() {
        for name in [
            "conv_in.weight",
            "mid_block.attentions.0.group_norm.weight",
            "mid_block.resnets.0.key.weight",
            "query.weight",
            "attentions.0",
            "",
        ] {
            assert_eq!(current_name(name), name);
            assert_eq!(legacy_name(name), name);
        }
    }
}
