using System.ComponentModel;
using System.Diagnostics;
using System.Text;
using CliWrap;

namespace WandbLaunch.Foundation;

/// <summary>What a program said, and how it ended.</summary>
internal sealed record ProgramResult(int ExitCode, string Output, string Error)
{
    internal bool Succeeded => ExitCode == 0;
}

/// <summary>
/// A program of this machine that answers and ends: git, pip, a credential helper. Words go as words, through no shell;
/// what it says is kept up to a limit; a cancelled call leaves nothing of it running.
/// </summary>
internal sealed class ExternalProgram
{
    // A child that outlives the program may hold its pipes; what the program itself wrote is through by then.
    private static readonly TimeSpan Linger = TimeSpan.FromSeconds(2);

    /// <param name="words">The program, by path or by its name on PATH, and its arguments.</param>
    internal ExternalProgram(params IReadOnlyList<string> words)
    {
        Words = words;
    }

    internal IReadOnlyList<string> Words { get; }

    /// <summary>Written to its standard input, which is then closed.</summary>
    internal string Input { get; init; } = "";

    /// <summary>Writes its standard input in the place of <see cref="Input"/>: bytes, as they come. A program that ends before it read all is no fault of the writer's.</summary>
    internal Func<Stream, CancellationToken, Task>? Feed { get; init; }

    /// <summary>Over the environment of this process; null takes a variable away.</summary>
    internal IReadOnlyDictionary<string, string?> Environment { get; init; } = new Dictionary<string, string?>();

    /// <summary>Where it runs. Never the shell's folder by chance: a file there could change what a program does.</summary>
    internal string WorkingFolder { get; init; } = Path.GetTempPath();

    /// <summary>How long it may take.</summary>
    internal TimeSpan TimeLimit { get; init; } = Timeout.InfiniteTimeSpan;

    /// <summary>How many characters of its output are kept, the last ones; as many of its errors.</summary>
    internal int Kept { get; init; } = 1 << 20;

    /// <summary>True: errors and output are one text, in the order in which they came.</summary>
    internal bool Merged { get; init; }

    /// <summary>Told whatever it says, in pieces of any length.</summary>
    internal Action<string>? Said { get; init; }

    /// <summary>Runs it to its end. A program that is not there or takes too long is a <see cref="LaunchException"/>; an exit code is not.</summary>
    internal async Task<ProgramResult> RunAsync(CancellationToken token)
    {
        var output = new TextTail(Kept);
        var error = Merged ? output : new TextTail(Kept);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(token);
        using var over = new CancellationTokenSource();
        using var letGo = new CancellationTokenSource();
        limit.CancelAfter(TimeLimit);
        try
        {
            var run = Cli.Wrap(Find())
                .WithArguments(Words.Skip(1))
                .WithWorkingDirectory(WorkingFolder)
                .WithEnvironmentVariables(Environment)
                .WithValidation(CommandResultValidation.None)
                .WithStandardInputPipe(
                    Feed is { } feed ? PipeSource.Create(feed) : PipeSource.FromString(Input, new UTF8Encoding(false))
                )
                .WithStandardOutputPipe(Into(output, letGo.Token))
                .WithStandardErrorPipe(Into(error, letGo.Token))
                .ExecuteAsync(limit.Token);
            var watch = LetGoAsync(run.ProcessId, letGo, over.Token);
            try
            {
                var result = await run;
                return new ProgramResult(result.ExitCode, output.ToString(), Merged ? "" : error.ToString());
            }
            finally
            {
                await over.CancelAsync();
                await watch;
            }
        }
        catch (OperationCanceledException e) when (!token.IsCancellationRequested)
        {
            throw new LaunchException(
                "ProgramTimeout",
                LaunchErrorCategory.OperationTimeout,
                $"'{Words[0]}' did not end within {TimeLimit.TotalSeconds:0.#} s, and was ended. Call it by hand to see what it waits for.",
                Words[0],
                e
            );
        }
        catch (Exception e) when (e is Win32Exception or DirectoryNotFoundException)
        {
            throw NotStarted(e.Message, e);
        }
    }

    /// <summary>The last lines of what it said, for a message: without the secrets that went in.</summary>
    internal string Tail(string text, int lines) =>
        string.Join(
            " | ",
            Masked(text)
                .Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)
                .TakeLast(lines)
        );

    /// <summary>What it said without the secrets that went in.</summary>
    internal string Masked(string text)
    {
        foreach (
            var secret in Environment
                .Where(v => Secrets.IsSecretName(v.Key))
                .Select(v => v.Value)
                .Concat(Input.Split('\n', StringSplitOptions.TrimEntries))
                .OfType<string>()
                .Where(s => s.Length > 3)
                .OrderByDescending(s => s.Length)
        )
        {
            text = text.Replace(secret, Secrets.Masked, StringComparison.Ordinal);
        }

        return Secrets.Mask(text);
    }

    private string Find()
    {
        var path = Path.IsPathFullyQualified(Words[0]) ? Words[0] : ProgramPath.Find(Words[0]);
        if (path is null)
        {
            throw NotStarted("there is no such program on PATH", null);
        }

        // Windows would start cmd for it, which reads the arguments as commands.
        return
            OperatingSystem.IsWindows()
            && Path.GetExtension(path).ToUpperInvariant() is var kind
            && kind is not (".EXE" or ".COM")
            ? throw NotStarted($"{path} is not a program but a file for a shell", null)
            : path;
    }

    private LaunchException NotStarted(string why, Exception? inner) =>
        new(
            "ProgramNotStarted",
            LaunchErrorCategory.ResourceUnavailable,
            $"'{Words[0]}' cannot be started: {why}. Is it installed?",
            Words[0],
            inner
        );

    private PipeTarget Into(TextTail tail, CancellationToken letGo) =>
        PipeTarget.Create(
            async (stream, token) =>
            {
                using var end = CancellationTokenSource.CreateLinkedTokenSource(token, letGo);
                var buffer = new byte[16384];
                var chars = new char[Encoding.UTF8.GetMaxCharCount(buffer.Length)];

                // Each stream has its own: a character may come in two pieces.
                var decoder = Encoding.UTF8.GetDecoder();
                try
                {
                    int read;
                    do
                    {
                        // The read itself may not heed the token: a pipe has no way to.
                        read = await stream.ReadAsync(buffer, end.Token).AsTask().WaitAsync(end.Token);
                        var count = decoder.GetChars(buffer, 0, read, chars, 0, read == 0);
                        tail.Add(chars.AsSpan(0, count));
                        Tell(chars.AsSpan(0, count));
                    } while (read > 0);
                }
                catch (OperationCanceledException) when (!token.IsCancellationRequested)
                {
                    // The program has ended; somebody else holds its pipe.
                }
            }
        );

    private void Tell(ReadOnlySpan<char> text)
    {
        if (Said is { } said && text.Length > 0)
        {
            said(text.ToString());
        }
    }

    private static async Task LetGoAsync(int id, CancellationTokenSource letGo, CancellationToken over)
    {
        try
        {
            using var process = Process.GetProcessById(id);
            await process.WaitForExitAsync(over);
        }
        catch (Exception e) when (e is ArgumentException or InvalidOperationException or Win32Exception)
        {
            // It has ended.
        }
        catch (OperationCanceledException)
        {
            return;
        }

        try
        {
            await Task.Delay(Linger, over);
            await letGo.CancelAsync();
        }
        catch (OperationCanceledException)
        {
            // Its pipes were closed with it.
        }
    }

    // The end of a long text.
    private sealed class TextTail(int limit)
    {
        private readonly StringBuilder _text = new();

        internal void Add(ReadOnlySpan<char> text)
        {
            lock (_text)
            {
                _text.Append(text);
                if (_text.Length > limit * 2)
                {
                    _text.Remove(0, _text.Length - limit);
                }
            }
        }

        public override string ToString()
        {
            lock (_text)
            {
                return _text.Length > limit ? _text.ToString(_text.Length - limit, limit) : _text.ToString();
            }
        }
    }
}
