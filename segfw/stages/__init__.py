"""The steps of the main job: each loads artefacts, calls the method, saves an artefact and says so. No arithmetic here."""
