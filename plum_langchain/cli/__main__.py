from plum_langchain.cli import main

main()
