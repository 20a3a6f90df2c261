#!/usr/bin/env bash
# The first run: teaches the embedded base model one cat from five pictures, then draws with and without what it learned.
#   scripts/quickstart.sh [OUTPUT_DIR]      (default lorikeet-quickstart; may be run again)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out="${1:-lorikeet-quickstart}"
lorikeet="${BUILD_DIR:-build}/lorikeet"
base=models/lorikeet-base
# Threads that wait for each other by spinning lose six times over when something else runs on the machine; with a short
# spin they sleep instead.
export GOMP_SPINCOUNT="${GOMP_SPINCOUNT:-10000}"

[ -x "$lorikeet" ] || { echo "quickstart: $lorikeet is not there yet; run \`make build\` first" >&2; exit 1; }

echo "1/2  Training a LoRA on the five pictures in examples/demo-subject: \"sks cat face\" (about two minutes on two cores)"
"$lorikeet" train dreambooth \
  --pretrained_model_name_or_path="$base" --instance_data_dir=examples/demo-subject --output_dir="$out" \
  --instance_prompt="sks cat face" --class_prompt="cat face" --with_prior_preservation --class_data_dir="$out/class" \
  --num_class_images=16 --sample_batch_size=8 --prior_generation_precision=fp32 \
  --resolution=64 --train_batch_size=4 --learning_rate=1e-3 --lr_scheduler=constant --lr_warmup_steps=0 \
  --max_train_steps=250 --rank=8 --seed=0 </dev/null

echo
echo "2/2  Drawing each prompt at scale 0 (the base model), 0.5 and 1"
"$lorikeet" generate --pretrained_model_name_or_path="$base" --lora="$out" --scale=0,0.5,1 --grid --output="$out/grid.png" \
  --prompt="sks cat face" --prompt="cat face" --prompt="dog face" --prompt="red apple" --prompt="panda" \
  --num_inference_steps=25 --guidance_scale=3 --seed=0 </dev/null

cat <<END

Done in $SECONDS s. Look at

  $out/grid.png
      columns: sks cat face, cat face, dog face, red apple, panda; rows: scale 0, 0.5, 1
  $out/pytorch_lora_weights.safetensors
      the LoRA; Diffusers loads it too

Down the first column "sks cat face" turns into the teal cat of examples/demo-subject; the others stay almost as they
are. Draw something else with it:

  $lorikeet generate --pretrained_model_name_or_path=$base --lora=$out --scale=1 \\
    --prompt="sks cat face" --guidance_scale=3 --seed=1 --output=cat.png
END
