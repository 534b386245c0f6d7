"""The pages of results: Markdown and pictures from templates and the JSON files that were measured."""
