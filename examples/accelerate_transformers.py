"""Hugging Face: trains a small VideoMAE of transformers with accelerate, on one GPU or (accelerate launch) on several.

python examples/accelerate_transformers.py data/demo/train.txt data/demo/val.txt runs/mae [--resume runs/mae]
"""

import argparse

import torch
from accelerate import Accelerator
from transformers import VideoMAEConfig, VideoMAEForVideoClassification

from c2d_fast import ClipLoader, Crop, Dense

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("train_list", "val_list", "out", "--resume"):
        parser.add_argument(name)
    for name, default in {"--epochs": 10, "--batch-size": 8}.items():
        parser.add_argument(name, type=int, default=default)
    args = parser.parse_args()
    accelerator = Accelerator(mixed_precision="bf16" if torch.cuda.is_available() else "no")
    reading = {"clip": Dense(8, interval=2), "crop": Crop(size=64, train_short_side=72), "batch_size": args.batch_size}
    train, val = ClipLoader(args.train_list, **reading), ClipLoader(args.val_list, train=False, **reading)
    size = {"hidden_size": 192, "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 3}
    model = VideoMAEForVideoClassification(VideoMAEConfig(image_size=64, num_frames=8, num_labels=train.num_classes, **size))
    model, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=3e-4))
    accelerator.register_for_checkpointing(train)  # and not to be prepared: it reads this rank's part, onto its device
    if args.resume:
        accelerator.load_state(args.resume)
    for epoch in range(train.current_epoch, args.epochs):
        for batch in train:  # [N, T, C, H, W] is what the model takes
            loss = model.train()(batch.as_NTCHW(normalize=True), labels=batch.label).loss
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()
        with torch.inference_mode():
            pairs = [(model.eval()(b.as_NTCHW(normalize=True)).logits.argmax(1), b.label) for b in val]
        right = accelerator.reduce(sum((guess == label).sum() for guess, label in pairs))
        accelerator.print(f"epoch {epoch}: loss {loss:.4f}, validation accuracy {right / val.num_videos:.1%}")
        accelerator.save_state(args.out)
