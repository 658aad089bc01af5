# Removes include folders that do not exist from every imported target.
#
# ROS 2 as Python wheels exports CMake targets that name folders of the machine which built the
# wheels; CMake refuses to generate for a target whose include folder is missing. The folders hold
# nothing that is needed here. An installation with every folder in place is left as it is.

function(nf_isac_drop_missing_include_folders)
  get_property(targets DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(folders ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(NOT folders)
      continue()
    endif()
    set(kept "")
    foreach(folder IN LISTS folders)
      # A generator expression has no path to look at yet.
      if(folder MATCHES "\\$<" OR EXISTS "${folder}")
        list(APPEND kept "${folder}")
      endif()
    endforeach()
    if(NOT kept STREQUAL folders)
      set_property(TARGET ${target} PROPERTY INTERFACE_INCLUDE_DIRECTORIES "${kept}")
    endif()
  endforeach()
endfunction()

# Deferred to the end of the project: by then every find_package has been called, also those that
# rosidl makes on its own.
cmake_language(DEFER CALL nf_isac_drop_missing_include_folders)
