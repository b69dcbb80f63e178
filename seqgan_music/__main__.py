"""``python -m seqgan_music`` is the command ``seqgan-music``."""

from seqgan_music_cli.main import main

main(prog_name="seqgan-music")
