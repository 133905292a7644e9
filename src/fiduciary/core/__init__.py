"""The nouns everyone speaks: types, errors, laws, seeds; torch and numpy only."""
