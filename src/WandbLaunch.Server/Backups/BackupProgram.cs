using System.Text.Json;

namespace WandbLaunch.Server.Backups;

/// <summary>The program as <c>--backup FOLDER --path FILE</c> and <c>--restore FOLDER --path FILE [--force yes]</c>: no server starts, and none is needed.</summary>
internal static class BackupProgram
{
    /// <summary>The exit code; null where the words ask for something else.</summary>
    internal static int? Run(string[] args)
    {
        if (args is not (["--backup" or "--restore", var folder, "--path", var path, ..] and [_, _, _, _, .. var rest]))
        {
            return null;
        }

        if (rest is not ([] or ["--force", "yes"]))
        {
            return null;
        }

        try
        {
            var info =
                args[0] == "--backup"
                    ? ServerBackup.Make(path, folder)
                    : ServerBackup.Restore(folder, path, rest.Length > 0);
            Console.Out.WriteLine("done " + JsonSerializer.Serialize(info));
            return 0;
        }
        catch (StartFault e)
        {
            Console.Error.WriteLine(e.Message);
            return e.ExitCode;
        }
    }
}
