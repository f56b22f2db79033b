//! Networks that are not ours, recognised by the names of their weights: what they are, and what would do.

use super::weight_file::WeightFile;
use crate::Error;

/// Number of names that an error lists.
const LISTED: usize = 3;

/// A kind of file: it is one if for each of these groups some name contains one of its alternatives.
struct Kind {
    marks: &'static [&'static [&'static str]],
    /// Text of the error, after the file's path.
    reason: &'static str,
}

const KINDS: &[Kind] = &[
    Kind {
        marks: &[&["lora_A", "lora_B", "lora_down", "lora_up", ".lora.", "_lora."]],
        reason: "a LoRA: changes to the weights of another model, and no model; fuse_lora and save_pretrained of its \
                 pipeline make one",
    },
    Kind {
        marks: &[&["downs.0.0.block1."], &["init_conv."]],
        reason: "a checkpoint of denoising-diffusion-pytorch, whose network has layers that ddpm lacks: RMSNorm, linear \
                 attention, learned keys and values, and downsampling by a rearrangement of pixels; a network of ours for \
                 the same data: ddpm train --set model.architecture=resnet-unet",
    },
    Kind {
        marks: &[&["model.diffusion_model."], &["first_stage_model.", "transformer_blocks.", "cond_stage_model."]],
        reason: "a checkpoint of latent diffusion (Stable Diffusion), which takes a text and makes latents; ddpm reads \
                 networks that make the samples themselves",
    },
    Kind {
        marks: &[&["down_blocks."], &["attn2.", "transformer_blocks."]],
        reason: "a UNet2DConditionModel (Stable Diffusion and its kin), which takes a text; ddpm reads UNet2DModel",
    },
    Kind {
        marks: &[&[
            "double_blocks.",
            "single_transformer_blocks.",
            "transformer_blocks.0.",
            "adaLN_modulation",
            "blocks.0.attn.qkv",
        ]],
        reason: "a diffusion transformer, which ddpm lacks; it reads U-Nets",
    },
    Kind {
        marks: &[&["encoder."], &["decoder."], &["quant_conv", "decoder.up", "decoder.conv_in"]],
        reason: "an autoencoder (VAE), which denoises nothing; ddpm reads the U-Net beside it, if that makes the samples \
                 themselves",
    },
    Kind {
        marks: &[&["text_model.encoder.", "text_projection"]],
        reason: "a text encoder, and no diffusion network; a U-Net that takes no text would do",
    },
    Kind {
        marks: &[&["down_blocks.0.resnets.0.conv1.weight"], &["conv_in.weight"]],
        reason: "weights of a UNet2DModel without its config.json; put that beside them, or give the folder where it lies",
    },
    Kind {
        marks: &[&["all_modules.0."]],
        reason: "a network of score_sde, whose layers have numbers for names and an order that only its configuration \
                 tells; ddpm reads diffusers' folders and checkpoints of improved-diffusion",
    },
    Kind {
        marks: &[&["temb.dense.0."], &["down.0.block.0."]],
        reason: "a network of the DDIM authors' code; ddpm reads it as a UNet2DModel of diffusers, into which its weights \
                 must be renamed",
    },
    Kind {
        marks: &[&["input_blocks.0.0."], &["out.2.positional_embedding", "out.0.positional_embedding"]],
        reason: "a classifier of guided-diffusion, which denoises nothing; the diffusion model beside it was wanted",
    },
    Kind {
        marks: &[&["exp_avg"]],
        reason: "the state of an optimiser, and no network; the weights that were saved with it would do",
    },
];

/// The error of a file that holds no network of a kind that is read.
pub fn refusal(file: &WeightFile) -> Error {
    let names = file.names();
    let is_there =
        |alternatives: &&[&str]| names.iter().any(|name| alternatives.iter().any(|part| name.contains(part)));
    let known = KINDS.iter().find(|kind| kind.marks.iter().all(is_there));
    let reason = known.map_or_else(|| unknown(&names), |kind| kind.reason.to_owned());
    Error::format(file.path(), reason)
}

fn unknown(names: &[String]) -> String {
    let more = names.len().saturating_sub(LISTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let listed = names[..names.len().min(LISTED)].join(", ");
    format!(
        "no network that is known by the names of its weights ({listed}{more}): a checkpoint of a run, a UNet2DModel of \
         diffusers or a checkpoint of improved-diffusion was wanted"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::tensor_file;
    use std::fs::File;

    #[test]
    fn files_are_told_apart_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        let cases: [(&[&str], &str); 12] = [
            (&["unet.down_blocks.0.attentions.0.to_q.lora_A.weight"], "a LoRA"),
            (&["model.init_conv.weight", "model.downs.0.0.block1.proj.weight"], "RMSNorm, linear attention"),
            (&["ema.ema_model.model.init_conv.bias", "ema.ema_model.model.downs.0.0.block1.norm.g"], "RMSNorm"),
            (&["model.diffusion_model.out.2.bias", "first_stage_model.quant_conv.bias"], "latent diffusion"),
            (
                &["conv_in.weight", "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"],
                "ConditionModel",
            ),
            (&["transformer_blocks.0.attn1.to_k.weight", "pos_embed.proj.weight"], "transformer"),
            (&["encoder.conv_in.weight", "decoder.conv_in.weight", "quant_conv.weight"], "VAE"),
            (&["text_model.encoder.layers.0.mlp.fc1.bias"], "text encoder"),
            (&["conv_in.weight", "down_blocks.0.resnets.0.conv1.weight"], "without its config.json"),
            (&["module.all_modules.0.weight"], "score_sde"),
            (&["temb.dense.0.weight", "down.0.block.0.conv1.weight"], "DDIM"),
            (&["a", "b", "c", "d", "e"], "(a, b, c and 2 more)"),
        ];
        for (names, wanted) in cases {
            let tensors: Vec<_> = names.iter().map(|name| ((*name).to_owned(), vec![1], vec![0.0])).collect();
            tensor_file::write(&mut File::create(&path).unwrap(), &tensors, ("format", "pt")).unwrap();
            let message = refusal(&WeightFile::open(&path).unwrap()).to_string();
            assert!(message.contains(wanted) && !message.contains('\n'), "{names:?}: {message}");
            assert!(message.starts_with(&path.display().to_string()), "{message}");
        }
    }
}
