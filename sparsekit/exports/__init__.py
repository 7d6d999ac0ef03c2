"""Networks made into something that runs without the code they were trained with."""
