"""Exports a checkpoint as the flags of `c2d_fast.export` say."""

import argparse

from c2d_fast.errors import UserError
from c2d_fast.files import check_writable
from c2d_fast.model import C2D
from c2d_fast.model_file import read_model_file, write_safetensors
from c2d_fast.recipe import load_pipe
from c2d_fast.weights import describe, fit_state, model_for


def run_export(args: argparse.Namespace) -> None:
    """Writes the weights and their card.

    Raises:
        UserError: anything that the user can mend.
    """
    if args.out.suffix != ".safetensors":
        raise UserError(f"--out {args.out}: must end in .safetensors, the one form that is written so far")
    check_writable(args.out, "--out")
    file = read_model_file(args.checkpoint, "--checkpoint")
    what = f"--checkpoint {args.checkpoint}"
    if args.pipe:
        model, recipe = model_for(load_pipe(args.pipe).recipe, file, what, args.num_classes)
        print(describe(file, recipe))
        card = {"recipe": recipe.as_dict(), **file.card}  # what a file says of itself stands
    elif file.form == "ours":
        if args.num_classes not in (None, file.num_classes):
            raise UserError(f"--num-classes {args.num_classes}: {what} has {file.num_classes}; leave it out")
        if file.model is None or file.num_classes != file.model.num_classes:
            raise UserError(f"{what}: its recipe is not of its weights; give the recipe with --pipe FILE")
        model, card = C2D(file.model), file.card
        fit_state(model, file.state, what)
    else:
        raise UserError(f"{what}: does not say of which recipe it is; give it with --pipe FILE")
    write_safetensors(model.state_dict(), card, args.out)
    print(f"{args.out}: weights of {card['recipe'].get('name')}, {args.out.stat().st_size / 1e6:.1f} MB")
