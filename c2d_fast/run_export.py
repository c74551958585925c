"""Exports a checkpoint as the flags of `c2d_fast.export` say."""

import argparse

from c2d_fast.errors import UserError
from c2d_fast.model_file import read_model_file, write_safetensors
from c2d_fast.recipe import load_pipe
from c2d_fast.weights import describe, model_for


def run_export(args: argparse.Namespace) -> None:
    """Writes the weights and their card.

    Raises:
        UserError: anything that the user can mend.
    """
    if args.out.suffix != ".safetensors":
        raise UserError(f"--out {args.out}: must end in .safetensors, the one form that is written so far")
    if not args.out.parent.is_dir():
        raise UserError(f"--out {args.out}: its folder does not exist; make it first")
    file = read_model_file(args.checkpoint, "--checkpoint")
    state, card = file.state, file.card
    if args.pipe:
        model, recipe = model_for(load_pipe(args.pipe).recipe, file, f"--checkpoint {args.checkpoint}", args.num_classes)
        print(describe(file, recipe))
        state, card = model.state_dict(), {**card, "recipe": recipe.as_dict()}
    elif file.form != "ours":
        raise UserError(f"--checkpoint {args.checkpoint}: does not say of which recipe it is; give it with --pipe FILE")
    write_safetensors(state, card, args.out)
    print(f"{args.out}: {len(state)} tensors of {card['recipe']['name']}, {args.out.stat().st_size / 1e6:.1f} MB")
