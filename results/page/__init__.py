"""The pieces of a study's page (`results.report`): what each section says and draws."""
