using System.Text;
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

    /// <summary>The host's word that the run is its own now.</summary>
    internal const string Watching = "watching";

    /// <summary>The secrets that <see cref="StartRunAsync"/> has sent.</summary>
    internal static Dictionary<string, string> ReadSecrets(string? line)
    {
        // Not by the serializer, which is compiled for half as long as this process takes to start.
        using var document = JsonDocument.Parse(line ?? "{}");
        var secrets = new Dictionary<string, string>();
        foreach (var secret in document.RootElement.EnumerateObject())
        {
            secrets[secret.Name] = secret.Value.GetString()!;
        }

        return secrets;
    }

    private static string Line(IReadOnlyDictionary<string, string> secrets)
    {
        using var bytes = new MemoryStream();
        using (var writer = new Utf8JsonWriter(bytes))
        {
            writer.WriteStartObject();
            foreach (var (name, value) in secrets)
            {
                writer.WriteString(name, value);
            }

            writer.WriteEndObject();
        }

        return Encoding.UTF8.GetString(bytes.GetBuffer(), 0, (int)bytes.Length);
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
        await process.StandardInput.WriteLineAsync(Line(secrets).AsMemory(), token);
        process.StandardInput.Close();
        var answer = await output.ReadLineAsync(token);
        if (answer != Watching)
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
