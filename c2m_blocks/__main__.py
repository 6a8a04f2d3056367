from c2m_blocks.cli import main

main()
