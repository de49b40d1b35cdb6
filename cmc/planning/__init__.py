"""From a config to what runs: what the rules, and `cmc check`, ask. Neither torch nor Snakemake is needed."""
