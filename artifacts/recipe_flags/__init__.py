"""The flags of a recipe by what they are about; `artifacts/recipe.py` joins them."""
