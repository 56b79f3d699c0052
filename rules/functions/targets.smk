# Input functions of rules/targets.smk.
def stored_results(wildcards):
    """With object storage every result, because there a job sees no file that it does not name;
    else nothing: the stage reads the whole folder."""
    if not rules.write_manifest.output.manifest.is_storage:
        return []
    found, waiting = {}, [*sum(STUDY_RESULTS, []), rules.report.output.report]
    while waiting:
        file = waiting.pop()
        maker = next((made for made in workflow.rules if made.is_producer(file)), None)
        if maker is not None and file not in found:
            named = maker.get_wildcards(file)
            made, *_ = maker.expand_output(named)
            needed, *_ = maker.expand_input(named)
            found |= dict.fromkeys([file, *made])
            waiting += needed
    return list(found)
