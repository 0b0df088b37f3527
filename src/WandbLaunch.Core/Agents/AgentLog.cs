using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace WandbLaunch.Agents;

/// <summary>An agent's log: a JSON object a line, with rotation: agent.log, agent.1.log … agent.5.log.</summary>
internal sealed class AgentLog(string folder, long maxBytes = 10 << 20) : IDisposable
{
    private const int Kept = 5;

    internal static readonly JsonSerializerOptions Json = new()
    {
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    private readonly object _lock = new();
    private FileStream? _stream;

    internal string Path { get; } = System.IO.Path.Combine(folder, "agent.log");

    /// <summary>Appends one event. A disk that is full costs lines of the log, never a run.</summary>
    internal void Write(AgentEvent happened)
    {
        var line = JsonSerializer.SerializeToUtf8Bytes(happened, Json);
        lock (_lock)
        {
            try
            {
                _stream ??= Open();
                if (_stream.Length > 0 && _stream.Length + line.Length > maxBytes)
                {
                    Rotate();
                    _stream = Open();
                }

                _stream.Write(line);
                _stream.WriteByte((byte)'\n');
                _stream.Flush();
            }
            catch (IOException)
            {
                _stream?.Dispose();
                _stream = null;
            }
        }
    }

    public void Dispose() => _stream?.Dispose();

    private FileStream Open()
    {
        var options = new FileStreamOptions
        {
            Mode = FileMode.Append,
            Access = FileAccess.Write,
            Share = FileShare.ReadWrite | FileShare.Delete,
        };
        if (!OperatingSystem.IsWindows())
        {
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        }

        return new FileStream(Path, options);
    }

    private void Rotate()
    {
        _stream!.Dispose();
        for (var number = Kept; number > 0; number--)
        {
            var from = number == 1 ? Path : Numbered(number - 1);
            if (File.Exists(from))
            {
                File.Move(from, Numbered(number), true);
            }
        }
    }

    private string Numbered(int number) => Numbered(Path, number);

    private static string Numbered(string path, int number) => System.IO.Path.ChangeExtension(path, $".{number}.log");

    /// <summary>The files before this one that are there, oldest first.</summary>
    internal static IEnumerable<string> Rotated(string path) =>
        Enumerable.Range(1, Kept).Reverse().Select(n => Numbered(path, n)).Where(File.Exists);
}
