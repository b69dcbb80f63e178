"""``seqgan-music list``."""

from __future__ import annotations

import click


@click.command("list")
def command() -> None:
    """List every tokenizer, model, loss, algorithm, objective, preset and corpus."""
    from seqgan_music import config, registry, run_settings, scores
    from seqgan_music.objectives import OBJECTIVES

    for kind, table in run_settings.TABLES.items():
        click.echo(f"{kind}:")
        for name in table:
            factory = registry.resolve(table, kind, name)
            click.echo(f"  {name:<18} {registry.describe(factory)}")
            options = registry.options_of(factory)
            for option, default in options.items():
                click.echo(f"      {option} = {default!r}")
    click.echo(f"{'objective:':<24}{'real':>6}{'noise':>8}   (mean on midi_data/, and on random notes)")
    for name in OBJECTIVES:
        objective = registry.resolve(OBJECTIVES, "objective", name)
        click.echo(f"  {name:<22}{objective.REAL:6.3f}{objective.NOISE:8.3f}   {objective.description}")
    click.echo("preset:")
    for name in config.preset_names():
        click.echo(f"  {name}")
    click.echo("corpus:")
    for name, bundled in scores.CORPORA.items():
        click.echo(f"  {name:<16} {bundled.title}")
        click.echo(f"      {bundled.rights}")
