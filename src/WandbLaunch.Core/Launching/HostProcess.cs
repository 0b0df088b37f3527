using System.Text.Json;
using WandbLaunch.Foundation;

namespace WandbLaunch.Launching;

/// <summary>Starts the host of a run, which outlives the shell.</summary>
internal static class HostProcess
{
    /// <summary>The command of a process that starts a program, and is given the orphans of what the program starts; null where it cannot be had.</summary>
    internal static OwnCommand? Adopter(LaunchEnvironment environment)
    {
        try
        {
            return OwnProgram.Host(environment).Command("adopt");
        }
        catch (LaunchException)
        {
            // No runtime, or a module that is not whole: orphans are found by the variable that they carry.
            return null;
        }
    }

    /// <summary>Hands a prepared run to a host. Secrets go through its standard input, not its command line or a file.</summary>
    internal static async Task StartRunAsync(
        LaunchEnvironment environment,
        string folder,
        IReadOnlyDictionary<string, string> secrets,
        CancellationToken token
    )
    {
        using var process = OwnProgram.Host(environment).Start(["run", folder]);

        // Closed here: a Process leaves streams that were asked for to the collector.
        using var output = process.StandardOutput;
        using var errors = process.StandardError;
        await process.StandardInput.WriteLineAsync(JsonSerializer.Serialize(secrets).AsMemory(), token);
        process.StandardInput.Close();
        var answer = await output.ReadLineAsync(token);
        if (answer != "watching")
        {
            var error = await errors.ReadToEndAsync(token);
            throw new LaunchException(
                "HostFailed",
                LaunchErrorCategory.InvalidOperation,
                $"The supervisor of the run did not start: {error.Trim()} If a file is missing, install the module again.",
                folder
            );
        }
    }
}
