using System.Globalization;
using System.Management.Automation;
using System.Management.Automation.Host;
using System.Management.Automation.Runspaces;

namespace WandbLaunch.Shell;

/// <summary>
/// A console for machines without pwsh: the PowerShell engine with the module loaded. <c>WandbLaunch.Shell SCRIPT [ARGS]</c>
/// runs a script, <c>-c COMMAND</c> a command; without arguments it reads commands line by line.
/// </summary>
internal static class Program
{
    private static int Main(string[] args)
    {
        // The laid out module: beside the sources, or where WANDBLAUNCH_MODULE says.
        var module = Environment.GetEnvironmentVariable("WANDBLAUNCH_MODULE") ?? FindModule();
        if (module is null)
        {
            Console.Error.WriteLine(
                "The module is not built: run 'dotnet build' first, or set WANDBLAUNCH_MODULE to its folder."
            );
            return 2;
        }

        var state = InitialSessionState.CreateDefault2();
        if (OperatingSystem.IsWindows())
        {
            state.ExecutionPolicy = Microsoft.PowerShell.ExecutionPolicy.RemoteSigned;
        }

        state.ImportPSModule([Path.Combine(module, "WandbLaunch.psd1")]);
        var host = new ShellHost();
        using var runspace = RunspaceFactory.CreateRunspace(host, state);
        runspace.Open();
        Runspace.DefaultRunspace = runspace;
        if (Console.IsOutputRedirected)
        {
            PSStyle.Instance.OutputRendering = OutputRendering.PlainText;
        }

        PowerShell? current = null;
        var interrupts = 0;
        Console.CancelKeyPress += (_, e) =>
        {
            if (current is { } running && interrupts++ == 0)
            {
                e.Cancel = true;
                running.BeginStop(null, null);
            }
        };

        if (args is ["-c", .. var words])
        {
            return Run(string.Join(' ', words), []);
        }

        if (args is [var script, .. var arguments])
        {
            // As pwsh -File does: words that begin with a dash name parameters.
            var named = new System.Collections.Hashtable();
            var rest = new List<string>();
            for (var i = 0; i < arguments.Length; i++)
            {
                if (arguments[i] is ['-', .. { Length: > 0 } name] && char.IsLetter(name[0]))
                {
                    named[name] =
                        i + 1 < arguments.Length && !arguments[i + 1].StartsWith('-')
                            ? arguments[++i]
                            : SwitchParameter.Present;
                }
                else
                {
                    rest.Add(arguments[i]);
                }
            }

            return Run(
                "param($Script, $Named, $Rest) & $Script @Named @Rest",
                [Path.GetFullPath(script), named, rest.ToArray()]
            );
        }

        while (host.ExitCode is null)
        {
            Console.Write($"WL {runspace.SessionStateProxy.Path.CurrentFileSystemLocation.Path}> ");
            if (Console.ReadLine() is not { } line)
            {
                break;
            }

            if (line.Trim().Length > 0)
            {
                Run(line, []);
            }
        }

        return host.ExitCode ?? 0;

        int Run(string text, object[] parameters)
        {
            using var shell = PowerShell.Create(runspace);
            current = shell;
            interrupts = 0;
            try
            {
                shell.AddScript(text);
                foreach (var parameter in parameters)
                {
                    shell.AddArgument(parameter);
                }

                shell.AddCommand("Out-Default");
                shell.Commands.Commands[0].MergeMyResults(PipelineResultTypes.Error, PipelineResultTypes.Output);
                shell.Invoke();
                // "exit 2" in a script file fails the pipeline, and leaves its number here.
                return host.ExitCode
                    ?? (
                        !shell.HadErrors ? 0
                        : runspace.SessionStateProxy.GetVariable("LASTEXITCODE") is int and not 0 and var code ? code
                        : 1
                    );
            }
            catch (RuntimeException e)
            {
                if (e is not PipelineStoppedException)
                {
                    host.UI.WriteErrorLine(
                        e.ErrorRecord.ToString() + Environment.NewLine + e.ErrorRecord.InvocationInfo?.PositionMessage
                    );
                }

                return host.ExitCode ?? 1;
            }
            finally
            {
                current = null;
            }
        }
    }

    private static string? FindModule()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            foreach (var candidate in new[] { Path.Combine(folder.FullName, "out", "WandbLaunch"), folder.FullName })
            {
                if (
                    File.Exists(Path.Combine(candidate, "WandbLaunch.psd1"))
                    && File.Exists(Path.Combine(candidate, "WandbLaunch.PowerShell.dll"))
                )
                {
                    return candidate;
                }
            }
        }

        return null;
    }
}

/// <summary>The engine's host on a plain console.</summary>
internal sealed class ShellHost : PSHost
{
    internal int? ExitCode { get; private set; }

    public override CultureInfo CurrentCulture => CultureInfo.CurrentCulture;
    public override CultureInfo CurrentUICulture => CultureInfo.CurrentUICulture;
    public override Guid InstanceId { get; } = Guid.NewGuid();
    public override string Name => "WandbLaunch.Shell";
    public override PSHostUserInterface UI { get; } = new ShellUI();
    public override Version Version => typeof(ShellHost).Assembly.GetName().Version!;

    public override void EnterNestedPrompt() => throw new NotSupportedException();

    public override void ExitNestedPrompt() => throw new NotSupportedException();

    public override void NotifyBeginApplication() { }

    public override void NotifyEndApplication() { }

    public override void SetShouldExit(int exitCode) => ExitCode = exitCode;
}

internal sealed class ShellUI : PSHostUserInterface
{
    private string _progress = "";

    public override PSHostRawUserInterface RawUI { get; } = new ShellRawUI();

    public override string ReadLine() => Console.ReadLine() ?? "";

    public override System.Security.SecureString ReadLineAsSecureString()
    {
        var secret = new System.Security.SecureString();
        while (Console.ReadKey(true) is { Key: not ConsoleKey.Enter } key)
        {
            if (key.Key == ConsoleKey.Backspace && secret.Length > 0)
            {
                secret.RemoveAt(secret.Length - 1);
            }
            else if (key.KeyChar != '\0')
            {
                secret.AppendChar(key.KeyChar);
            }
        }

        Console.WriteLine();
        return secret;
    }

    public override void Write(string value)
    {
        EraseProgress();
        Console.Write(value);
    }

    public override void Write(ConsoleColor foregroundColor, ConsoleColor backgroundColor, string value) =>
        Write(value);

    public override void WriteLine(string value) => Write(value + Environment.NewLine);

    public override void WriteDebugLine(string message) => WriteLine("DEBUG: " + message);

    public override void WriteVerboseLine(string message) => WriteLine("VERBOSE: " + message);

    public override void WriteWarningLine(string message) => WriteLine("WARNING: " + message);

    public override void WriteErrorLine(string value)
    {
        EraseProgress();
        Console.Error.WriteLine(value);
    }

    public override void WriteProgress(long sourceId, ProgressRecord record)
    {
        if (Console.IsErrorRedirected || Console.IsOutputRedirected)
        {
            return;
        }

        EraseProgress();
        if (record.RecordType == ProgressRecordType.Processing)
        {
            var text =
                $"{record.Activity}: {record.StatusDescription}{(record.PercentComplete >= 0 ? $" {record.PercentComplete} %" : "")}";
            _progress =
                text.Length >= Math.Max(Console.WindowWidth, 20)
                    ? text[..(Math.Max(Console.WindowWidth, 20) - 1)]
                    : text;
            Console.Error.Write(_progress);
        }
    }

    public override Dictionary<string, PSObject> Prompt(
        string caption,
        string message,
        System.Collections.ObjectModel.Collection<FieldDescription> descriptions
    )
    {
        WriteLine(string.Join(Environment.NewLine, new[] { caption, message }.Where(t => !string.IsNullOrEmpty(t))));
        var answers = new Dictionary<string, PSObject>();
        foreach (var field in descriptions)
        {
            Write(field.Name + ": ");
            answers[field.Name] =
                field.ParameterTypeName == nameof(System.Security.SecureString)
                    ? PSObject.AsPSObject(ReadLineAsSecureString())
                    : PSObject.AsPSObject(ReadLine());
        }

        return answers;
    }

    public override int PromptForChoice(
        string caption,
        string message,
        System.Collections.ObjectModel.Collection<ChoiceDescription> choices,
        int defaultChoice
    )
    {
        WriteLine(caption + Environment.NewLine + message);
        var labels = choices.Select(c => c.Label.Replace("&", "", StringComparison.Ordinal)).ToList();
        var keys = choices
            .Select(c =>
                c.Label.IndexOf('&', StringComparison.Ordinal) is var at and >= 0
                    ? c.Label.Substring(at + 1, 1)
                    : c.Label[..1]
            )
            .ToList();
        while (true)
        {
            Write(
                string.Join("  ", keys.Zip(labels, (k, l) => $"[{k}] {l}"))
                    + (defaultChoice >= 0 ? $" (default {keys[defaultChoice]}): " : ": ")
            );
            var answer = ReadLine().Trim();
            if (answer.Length == 0 && (defaultChoice >= 0 || Console.IsInputRedirected))
            {
                return Math.Max(defaultChoice, 0);
            }

            var at = keys.FindIndex(k => k.Equals(answer, StringComparison.OrdinalIgnoreCase));
            at = at >= 0 ? at : labels.FindIndex(l => l.Equals(answer, StringComparison.OrdinalIgnoreCase));
            if (at >= 0)
            {
                return at;
            }
        }
    }

    public override PSCredential PromptForCredential(
        string caption,
        string message,
        string userName,
        string targetName
    ) =>
        PromptForCredential(
            caption,
            message,
            userName,
            targetName,
            PSCredentialTypes.Default,
            PSCredentialUIOptions.Default
        );

    public override PSCredential PromptForCredential(
        string caption,
        string message,
        string userName,
        string targetName,
        PSCredentialTypes allowedCredentialTypes,
        PSCredentialUIOptions options
    )
    {
        WriteLine(caption + Environment.NewLine + message);
        if (string.IsNullOrEmpty(userName))
        {
            Write("User: ");
            userName = ReadLine();
        }

        Write($"Password for {userName}: ");
        return new PSCredential(userName, ReadLineAsSecureString());
    }

    private void EraseProgress()
    {
        if (_progress.Length > 0)
        {
            Console.Error.Write("\r" + new string(' ', _progress.Length) + "\r");
            _progress = "";
        }
    }
}

internal sealed class ShellRawUI : PSHostRawUserInterface
{
    public override ConsoleColor BackgroundColor { get; set; } = ConsoleColor.Black;
    public override ConsoleColor ForegroundColor { get; set; } = ConsoleColor.Gray;
    public override Size BufferSize
    {
        get => new(Width, 50);
        set { }
    }
    public override Coordinates CursorPosition { get; set; }
    public override int CursorSize { get; set; } = 25;
    public override bool KeyAvailable => !Console.IsInputRedirected && Console.KeyAvailable;
    public override Size MaxPhysicalWindowSize => new(Width, 50);
    public override Size MaxWindowSize => new(Width, 50);
    public override Coordinates WindowPosition { get; set; }
    public override Size WindowSize
    {
        get => new(Width, 50);
        set { }
    }
    public override string WindowTitle { get; set; } = "";

    private static int Width => Console.IsOutputRedirected ? 140 : Math.Max(Console.WindowWidth, 40);

    public override void FlushInputBuffer() { }

    public override BufferCell[,] GetBufferContents(Rectangle rectangle) => throw new NotSupportedException();

    public override KeyInfo ReadKey(ReadKeyOptions options) =>
        Console.ReadKey(true) is var key ? new KeyInfo((int)key.Key, key.KeyChar, 0, true) : default;

    public override void ScrollBufferContents(
        Rectangle source,
        Coordinates destination,
        Rectangle clip,
        BufferCell fill
    ) { }

    public override void SetBufferContents(Coordinates origin, BufferCell[,] contents) { }

    public override void SetBufferContents(Rectangle rectangle, BufferCell fill) { }
}
