"""What a server means and whose fault it is: the classifier, the form of its rules, the words that it matches."""
