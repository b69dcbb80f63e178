"""Packages of seqgan-music; everything else is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["seqgan_music", "seqgan_music.*"]), "seqgan_music_cli"],
    package_dir={"seqgan_music_cli": "cli"},
    package_data={
        "seqgan_music": [
            "py.typed",
            "html_report/templates/*",
            "presets/*.toml",
            "pretrained/README.md",
            "pretrained/*/*",
            "pretrained/*/checkpoints/*/*",
        ]
    },
)
