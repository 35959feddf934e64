"""The steps of the main job: each loads artefacts, calls the method and saves an artefact. No arithmetic here."""
