"""timm: trains an image model on the frames of a clip, one of each part of the video; its logits are averaged over them.

python examples/timm_frames.py data/demo/train.txt data/demo/val.txt [--model resnet18] [--epochs 10]
"""

import argparse

import timm
import torch

from c2d_fast import ClipLoader, Crop, Uniform


def logits_of(model, batch, mean, std):
    frames = batch.as_NTCHW(normalize=(mean, std))  # [N, T, C, H, W]
    return model(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]).mean(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name, default in {"train_list": "", "val_list": "", "--model": "resnet18"}.items():
        parser.add_argument(name, default=default)
    for name, default in {"--epochs": 10, "--batch-size": 8, "--frames": 4, "--size": 64}.items():
        parser.add_argument(name, type=int, default=default)
    args = parser.parse_args()
    crop = Crop(kind="random_resized", area=(0.5, 1.0), size=args.size, train_short_side=args.size * 8 // 7)
    reading = {"clip": Uniform(args.frames), "crop": crop, "batch_size": args.batch_size}
    train, val = ClipLoader(args.train_list, **reading), ClipLoader(args.val_list, train=False, **reading)
    model = timm.create_model(args.model, num_classes=train.num_classes).to("cuda" if torch.cuda.is_available() else "cpu")
    colours = [timm.data.resolve_model_data_config(model)[name] for name in ("mean", "std")]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for epoch in range(args.epochs):
        for batch in train:
            loss = torch.nn.functional.cross_entropy(logits_of(model.train(), batch, *colours), batch.label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.inference_mode():
            right = sum((logits_of(model.eval(), batch, *colours).argmax(1) == batch.label).sum() for batch in val)
        print(f"epoch {epoch}: loss {loss:.4f}, validation accuracy {right / val.num_videos:.1%}")
