#include "cli/auth_commands.h"
#include "cli/command.h"
#include "cli/hub_cache_commands.h"
#include "cli/hub_commands.h"

namespace lorikeet {

std::vector<Command> hub_command_table() {
  return {
      bind({.name = "auth login",
            .summary = "Log in to the Hugging Face Hub",
            .about = "Shows a page and a code to confirm in a browser, or takes --token, and keeps the token where the "
                     "`hf` program keeps it too.",
            .example = "  lorikeet auth login"},
           auth_login),
      bind({.name = "auth logout",
            .summary = "Forget the Hub's tokens on this machine",
            .about = "Removes the active token and all that are kept, or the one that --token_name says.",
            .example = "  lorikeet auth logout"},
           auth_logout),
      bind({.name = "auth whoami",
            .summary = "Tell who is logged in to the Hub",
            .about = "Asks the Hub whose the active token is.",
            .example = "  lorikeet auth whoami"},
           auth_whoami),
      bind({.name = "auth list",
            .summary = "List the Hub's tokens on this machine by name",
            .about = "The active one has a star. The tokens themselves are not shown.",
            .example = "  lorikeet auth list"},
           auth_list),
      bind({.name = "auth switch",
            .summary = "Use another of the Hub's tokens on this machine",
            .about = "Makes a token of `lorikeet auth list` the active one.",
            .example = "  lorikeet auth switch --token_name=work"},
           auth_switch),
      bind({.name = "hub download",
            .summary = "Fetch a model, a dataset or files of one from the Hub",
            .about = "Fetches what is missing into the cache that the Python libraries use too, checks every byte, and "
                     "prints where it is.",
            .example = "  lorikeet hub download stable-diffusion-v1-5/stable-diffusion-v1-5 --pipeline"},
           hub_download),
      bind({.name = "hub ls",
            .summary = "List the files of a model or a dataset on the Hub",
            .about = "Prints size in bytes and path of every file.",
            .example = "  lorikeet hub ls stable-diffusion-v1-5/stable-diffusion-v1-5"},
           hub_ls),
      bind({.name = "hub upload",
            .summary = "Put a folder or a file on the Hub",
            .about = "Makes the repository if there is none, sends what is not there yet, and makes one commit of it.",
            .example = "  lorikeet hub upload my-lora lora-out --include \"*.safetensors\" README.md"},
           hub_upload),
      bind({.name = "hub cache ls",
            .summary = "List what of the Hub is on this machine",
            .about = "Prints size, age, branches and tags of every model and data set in the cache that the Python "
                     "libraries use too.",
            .example = "  lorikeet hub cache ls --revisions"},
           hub_cache_ls),
      bind({.name = "hub cache rm",
            .summary = "Remove models, data sets or revisions from this machine",
            .about = "Removes what is named from the Hub's cache, after asking. Bytes that another revision or model "
                     "uses stay, and so does what is just being downloaded.",
            .example = "  lorikeet hub cache rm model/stable-diffusion-v1-5/stable-diffusion-v1-5"},
           hub_cache_rm),
      bind({.name = "hub cache prune",
            .summary = "Remove what nothing on this machine means any more",
            .about = "Removes from the Hub's cache, after asking, the revisions that no branch or tag means, downloads "
                     "that nobody goes on with, and bytes that nothing uses.",
            .example = "  lorikeet hub cache prune --dry_run"},
           hub_cache_prune),
      bind({.name = "hub cache verify",
            .summary = "Read the Hub's files on this machine again, and tell which are damaged",
            .about = "Compares every file in the cache with the sum that the Hub promised. Asks nobody.",
            .example = "  lorikeet hub cache verify model/stable-diffusion-v1-5/stable-diffusion-v1-5"},
           hub_cache_verify),
  };
}

}  // namespace lorikeet
