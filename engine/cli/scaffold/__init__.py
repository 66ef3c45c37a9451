"""The files that ``engine new-plugin`` writes, as templates: @NAME@, @MODULE@ and @CLASS@ are replaced."""
